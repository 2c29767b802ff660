-- ends: timeout
while true do cache.work(0 / 0) end
