-- ends: memory
local t = {}
while true do t[#t + 1] = load('return function() end') end
