-- ends: error
local t = setmetatable({}, { __metatable = false })
setmetatable(t, {})
