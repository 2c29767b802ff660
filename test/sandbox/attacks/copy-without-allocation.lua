-- ends: memory
local s = ('x'):rep(20000)
while true do pcall(table.concat, { s, s, {} }) end
