-- ends: memory
local function f() coroutine.resume(coroutine.create(f)) while true do end end
f()
