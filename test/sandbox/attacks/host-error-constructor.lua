-- ends: ok
local ok, e = pcall(cache.fail)
return type(e) ~= 'string' or e.constructor
