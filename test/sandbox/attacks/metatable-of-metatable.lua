-- ends: ok
local m = {}
setmetatable(m, { __index = function() while true do end end })
local t = setmetatable({}, m)
return t.x
