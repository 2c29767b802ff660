-- ends: memory
local s = ('x'):rep(5000)
local t = {}
while true do t[#t + 1] = { s:byte(1, 200) } end
