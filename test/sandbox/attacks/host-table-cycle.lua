-- ends: ok
local t = {}
t.self = { t }
return cache.put(t)
