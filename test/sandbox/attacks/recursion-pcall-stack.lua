-- ends: timeout
local function f(...) return pcall(f, ...) end
f()
while true do f() end
