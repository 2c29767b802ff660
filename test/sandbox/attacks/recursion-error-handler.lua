-- ends: ok
local function h(m) return xpcall(error, h, m) end
xpcall(error, h)
