-- ends: memory
return string.char(table.unpack(setmetatable({}, { __index = function() return 65 end }), 1, 1e6))
