-- ends: ok
local ok, m = pcall(string.rep, setmetatable({}, { __name = 'mine' }))
return m:find('mine', 1, true)
