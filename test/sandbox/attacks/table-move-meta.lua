-- ends: timeout
table.move(setmetatable({}, { __index = function() return 1 end }), 1, math.maxinteger - 1, 1, setmetatable({}, { __newindex = function() end }))
