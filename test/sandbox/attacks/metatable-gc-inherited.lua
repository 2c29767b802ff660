-- ends: ok
local m = setmetatable({}, { __index = function() return function() while true do end end end })
local t = setmetatable({}, m) t = nil
for i = 1, 200 do local x = {} end
