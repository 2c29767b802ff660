-- ends: error
local t = {}
for i = 1, 300 do t[i] = i % 7 end
table.sort(t, function() return true end)
