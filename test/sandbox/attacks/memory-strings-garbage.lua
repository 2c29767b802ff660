-- ends: memory
for i = 1, math.huge do local s = 'k' .. i end
