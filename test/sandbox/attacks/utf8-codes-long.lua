-- ends: timeout
local s = ('x'):rep(5000)
while true do for _ in utf8.codes(s) do end end
