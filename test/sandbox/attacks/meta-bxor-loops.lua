-- ends: timeout
local meta = { __bxor = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
return t ~ u
