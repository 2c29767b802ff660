-- ends: error
local t
t = setmetatable({}, { __newindex = function(_, k, v) t[k .. 'x'] = v end })
t.x = 1
