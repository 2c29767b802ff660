-- ends: memory
local t = {}
while true do t[#t + 1] = utf8.char(0x7fffffff, 0x7fffffff, #t) end
