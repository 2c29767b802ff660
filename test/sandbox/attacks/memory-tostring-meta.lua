-- ends: memory
local big = ('x'):rep(10000)
local o = setmetatable({}, { __tostring = function() return big .. math.random() end })
local t = {} while true do t[#t + 1] = tostring(o) end
