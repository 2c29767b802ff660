-- ends: ok
setmetatable({}, { __gc = function() while true do end end })
local t = {}
for i = 1, 100 do t = { t } end
