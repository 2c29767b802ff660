-- ends: timeout
local s = ('x'):rep(10000)
while true do s:gsub('', '') end
