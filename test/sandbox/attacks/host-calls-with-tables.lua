-- ends: timeout
local t = {}
for i = 1, 500 do t[i] = i end
while true do cache.put(t) end
