-- ends: memory
local s = event.key .. ('x'):rep(100)
while true do s = s .. s end
