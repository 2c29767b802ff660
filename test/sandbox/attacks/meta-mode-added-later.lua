-- ends: ok
local meta = {}
local t = setmetatable({}, meta)
meta.__mode = 'kv'
for i = 1, 100 do t[{}] = {} end
