-- ends: memory
local t = {}
while true do t[#t + 1] = { pcall(table.unpack, { 1 }, 1, 200) } end
