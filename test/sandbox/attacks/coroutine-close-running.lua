-- ends: error
return coroutine.close(coroutine.running())
