-- ends: error
local t
t = setmetatable({}, { __pairs = function() return pairs(t) end })
for _ in pairs(t) do end
