-- ends: memory
local t = {}
for i = 1, 3000 do t[i] = i end
while true do cache.put(t) end
