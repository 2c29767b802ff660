-- ends: timeout
local function f()
  local x <close> = setmetatable({}, { __close = function() f() end })
  error('x')
end
while true do pcall(f) end
