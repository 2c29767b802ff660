-- ends: memory
local t = {}
for i = 1, 1000 do t[i] = 'xxxxxxxxxxxxxxxxxxxx' end
local u = {}
while true do u[#u + 1] = table.concat(t) end
