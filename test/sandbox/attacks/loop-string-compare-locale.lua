-- ends: memory
local a = ('a\0'):rep(5000)
while true do local _ = a <= a .. 'x' end
