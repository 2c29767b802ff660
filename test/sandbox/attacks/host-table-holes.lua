-- ends: ok
return cache.put({ [1 << 40] = 1, [-1] = 2, [0.5] = 3, [math.mininteger] = 4 }) == nil
