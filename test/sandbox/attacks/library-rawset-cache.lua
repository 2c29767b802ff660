-- ends: error
rawset(cache, 'get', nil)
