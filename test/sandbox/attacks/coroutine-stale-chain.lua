-- ends: timeout
pcall(coroutine.wrap(function() error('x') end))
coroutine.wrap(function() while true do end end)()
