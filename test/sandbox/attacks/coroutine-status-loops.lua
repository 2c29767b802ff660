-- ends: timeout
local co = coroutine.create(print)
while true do coroutine.status(co) coroutine.isyieldable() end
