-- ends: killed
local function f() return load(f) end
f()
