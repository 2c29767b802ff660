-- ends: ok
local meta = {}
local t = setmetatable({}, meta)
meta.__gc = function() while true do end end
t = nil
for i = 1, 100 do local x = {} end
