-- ends: memory
local t = {}
for i = 1, math.huge do rawset(t, i, {}) end
