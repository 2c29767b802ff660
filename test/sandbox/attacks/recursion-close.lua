-- ends: memory
local function f() local x <close> = setmetatable({}, { __close = f }) end
f()
