-- ends: timeout
local meta = { __newindex = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
t.y = 1
