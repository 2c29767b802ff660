-- ends: memory
local s = ('x'):rep(20000)
return string.format('%s%s%s%s%s', s, s, s, s, s)
