-- ends: memory
local function f() coroutine.wrap(f)() end
f()
