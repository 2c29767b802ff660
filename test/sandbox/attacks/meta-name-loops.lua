-- ends: ok
local t = setmetatable({}, { __name = setmetatable({}, { __tostring = function() while true do end end }) })
return tostring(t):find('loops') or pcall(string.rep, t)
