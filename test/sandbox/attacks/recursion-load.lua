-- ends: memory
local function f() return load(f) end
f()
