-- ends: memory
local function f(...) return f(table.pack(...), ...) end
f()
