-- ends: timeout
kept = coroutine.wrap(function() while true do coroutine.yield() end end)
kept()
while true do kept() end
