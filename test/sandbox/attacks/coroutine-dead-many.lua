-- ends: memory
while true do local co = coroutine.create(error) coroutine.resume(co) end
