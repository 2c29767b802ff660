-- ends: memory
local t = {}
for i = 1, 62 do t[1 << i] = i end
for i = 1, math.huge do t[-i] = i end
