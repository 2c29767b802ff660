-- ends: timeout
local t = {}
while true do rawlen(t) rawequal(t, t) rawget(t, 1) rawset(t, 1, 1) end
