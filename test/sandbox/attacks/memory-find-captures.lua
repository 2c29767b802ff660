-- ends: memory
local s, t = ('x'):rep(30000), {}
while true do t[#t + 1] = { s:find('(' .. ('.'):rep(1000) .. ')', 1 + #t) } end
