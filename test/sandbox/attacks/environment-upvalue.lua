-- ends: error
local function f() return _ENV end
f().string.format = nil
