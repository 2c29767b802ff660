-- ends: timeout
while true do cache.get('x') end
