-- ends: memory
while true do table.insert(setmetatable({}, { __newindex = function() end }), 1) end
