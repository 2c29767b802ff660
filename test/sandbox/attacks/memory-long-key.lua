-- ends: memory
local t = {}
while true do t[('k'):rep(1000) .. #t] = true t[#t + 1] = true end
