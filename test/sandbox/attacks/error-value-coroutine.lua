-- ends: error
error(coroutine.create(print))
