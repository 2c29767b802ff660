-- ends: timeout
while true do pcall(cache.fail) end
