-- ends: error
local t
t = setmetatable({}, { __len = function() return #t end })
return #t
