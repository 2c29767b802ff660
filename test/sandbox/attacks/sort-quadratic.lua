-- ends: timeout
local t = {}
for i = 1, 2000 do t[i] = 1 end
while true do table.sort(t, function(a, b) return a < b end) end
