-- ends: ok
return getmetatable(coroutine.create(print)) or getmetatable(print) or getmetatable(1)
