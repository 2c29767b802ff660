-- ends: timeout
local function f() return pcall(f, pcall(cache.fail)) end
f()
