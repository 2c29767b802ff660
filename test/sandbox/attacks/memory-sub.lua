-- ends: memory
local s, t = ('x'):rep(20000), {}
while true do t[#t + 1] = s:sub(1 + #t) end
