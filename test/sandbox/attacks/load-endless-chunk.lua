-- ends: timeout
local n = 0
load(function() n = n + 1 return n < 1e9 and 'x' or nil end)
