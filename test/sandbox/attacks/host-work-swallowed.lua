-- ends: timeout
pcall(cache.work, 1e15)
while true do end
