-- ends: ok
local co = coroutine.wrap(cache.get)
return co('x') ~= '<x>'
