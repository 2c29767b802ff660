-- ends: memory
local t = {}
while true do t[#t + 1] = tostring(#t + 0.5) end
