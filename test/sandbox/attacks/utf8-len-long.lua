-- ends: timeout
local s = ('x'):rep(20000)
while true do utf8.len(s) end
