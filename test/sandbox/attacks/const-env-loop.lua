-- ends: memory
local f = load('local _ENV <const> = {} ; x = 1 ; return x')
f()
while true do f() end
