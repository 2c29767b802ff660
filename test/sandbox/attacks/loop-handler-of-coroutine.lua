-- ends: killed
coroutine.wrap(function() xpcall(error, function() while true do end end) end)()
