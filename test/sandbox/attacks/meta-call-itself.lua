-- ends: error
local t = setmetatable({}, {})
getmetatable(t).__call = t
t()
local m = {}
m.__call = setmetatable({}, m)
setmetatable({}, m)()
