-- ends: ok
local t = setmetatable({}, { __index = 1 })
local m = getmetatable(t)
local n = 0
for _ in pairs(m) do n = n + 1 end
return n ~= 1
