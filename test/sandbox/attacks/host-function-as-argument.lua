-- ends: ok
return cache.put(cache.get) or cache.put(print) or cache.put(coroutine.create(print))
