-- ends: timeout
local a, b = ('x'):rep(20000), ('x'):rep(20000)
while true do local _ = a == b end
