-- ends: ok
return select(2, xpcall(error, cache.get, 'm')) ~= '<m>'
