-- ends: memory
local s, t = ('X'):rep(20000), {}
while true do t[#t + 1] = s:lower() end
