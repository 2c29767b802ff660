-- ends: error
local m = {}
m.__lt = function(a, b) return b < a end
return setmetatable({}, m) < setmetatable({}, m)
