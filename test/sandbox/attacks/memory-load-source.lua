-- ends: memory
local s = ('x=1 '):rep(10000)
return load(s)
