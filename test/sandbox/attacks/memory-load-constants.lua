-- ends: memory
local t = {}
for i = 1, 3000 do t[i] = 'x = "k' .. i .. '"' end
return load(table.concat(t, '\n'))
