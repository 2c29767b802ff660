-- ends: memory
local s = ('x'):rep(1000)
return table.concat({ s, s, s, s, s, s, s, s, s, s }, ('y'):rep(20000))
