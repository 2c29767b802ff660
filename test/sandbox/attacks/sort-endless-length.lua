-- ends: memory
table.sort(setmetatable({}, { __len = function() return 1e9 end, __index = function() return 1 end }))
