-- ends: ok
return getmetatable(_ENV)
