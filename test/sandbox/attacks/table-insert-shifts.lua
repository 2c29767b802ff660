-- ends: killed
local t = setmetatable({}, { __len = function() return 1e9 end })
table.insert(t, 1, 'x')
