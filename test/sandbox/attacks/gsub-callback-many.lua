-- ends: timeout
local s = ('x'):rep(1000)
while true do s:gsub('.', function() end) end
