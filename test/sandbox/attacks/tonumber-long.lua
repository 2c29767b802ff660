-- ends: timeout
local s = ('9'):rep(20000)
while true do tonumber(s, 10) end
