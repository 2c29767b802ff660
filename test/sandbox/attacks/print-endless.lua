-- ends: memory
while true do print('x') end
