-- ends: memory
for i = 1, math.huge do _ENV['g' .. i] = i end
