-- ends: ok
return cache.put({ __proto__ = { polluted = true }, constructor = { prototype = { polluted = true } } }) ~= true
