-- ends: timeout
local meta = { __close = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
local c <close> = t
