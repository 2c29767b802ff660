-- ends: timeout
math.randomseed(42)
while true do end
