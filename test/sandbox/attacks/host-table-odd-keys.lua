-- ends: ok
return cache.put({ [{}] = 1 }) or cache.put({ [print] = 1 }) or cache.put({ [true] = print })
