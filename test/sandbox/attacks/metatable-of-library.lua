-- ends: ok
return getmetatable(string) or getmetatable(cache)
