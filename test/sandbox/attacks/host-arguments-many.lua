-- ends: timeout
while true do cache.get(table.unpack({}, 1, 200)) end
