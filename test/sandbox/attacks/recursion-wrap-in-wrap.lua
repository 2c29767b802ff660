-- ends: memory
local f = function() end
for _ = 1, 250 do local g = f f = coroutine.wrap(function() g() end) end
f()
