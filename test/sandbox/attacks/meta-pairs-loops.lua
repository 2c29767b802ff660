-- ends: timeout
local meta = { __pairs = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
for k in pairs(t) do end
