-- ends: ok
local function f() pcall(f) end
f()
