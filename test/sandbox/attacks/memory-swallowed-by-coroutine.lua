-- ends: memory
return coroutine.resume(coroutine.create(function() return ('x'):rep(1e9) end))
