-- ends: timeout
while true do math.random(0) math.fmod(5, 3) math.ult(1, 2) end
