-- ends: timeout
while true do select('#', table.unpack({}, 1, 200)) end
