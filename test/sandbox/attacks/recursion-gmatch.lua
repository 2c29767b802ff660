-- ends: memory
local function f() for _ in ('x'):gmatch('.') do f() end end
f()
