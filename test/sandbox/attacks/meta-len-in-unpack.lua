-- ends: timeout
return table.unpack(setmetatable({}, { __len = function() while true do end end }))
