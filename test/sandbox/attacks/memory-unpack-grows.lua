-- ends: memory
local t = { 1, 2, 3 }
while true do t = { table.unpack(t), table.unpack(t) } end
