-- ends: timeout
local _ENV = setmetatable({}, { __index = function() while 1 do end end })
return x
