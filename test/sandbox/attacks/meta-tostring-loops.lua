-- ends: timeout
local meta = { __tostring = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
return tostring(t)
