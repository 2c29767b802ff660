-- ends: ok
return cache.get() ~= '<>' or cache.put() ~= true
