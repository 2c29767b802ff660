-- ends: memory
local s, t = ('\1'):rep(200), {}
while true do t[#t + 1] = { string.unpack(('B'):rep(200), s) } end
