-- ends: memory
local s, t = ('x'):rep(150), {}
while true do t[#t + 1] = { utf8.codepoint(s, 1, -1) } end
