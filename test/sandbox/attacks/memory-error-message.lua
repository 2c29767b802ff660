-- ends: memory
local name = ('x'):rep(20000)
local t = {} while true do t[#t + 1] = { pcall(error, name .. #t) } end
