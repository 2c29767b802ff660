-- ends: timeout
local _ENV = setmetatable({}, { __newindex = function() while 1 do end end })
x = 1
