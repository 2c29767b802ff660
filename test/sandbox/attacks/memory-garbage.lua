-- ends: memory
while true do local t = {} end
