-- ends: memory
local t = setmetatable({}, {})
local all = {} while true do all[#all + 1] = { getmetatable(t) } end
