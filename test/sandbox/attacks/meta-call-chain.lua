-- ends: memory
local t = print
for _ = 1, 300 do t = setmetatable({}, { __call = t }) end
t()
