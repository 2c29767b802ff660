-- ends: timeout
local s = ('a'):rep(20000)
while true do s:find('aaaaaaaaab', 1, true) end
