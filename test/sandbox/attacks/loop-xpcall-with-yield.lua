-- ends: timeout
coroutine.wrap(function() while true do xpcall(coroutine.yield, coroutine.yield) end end)()
while true do end
