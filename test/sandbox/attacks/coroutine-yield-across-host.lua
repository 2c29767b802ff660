-- ends: error
coroutine.wrap(function() table.sort({ 2, 1 }, coroutine.yield) end)()
