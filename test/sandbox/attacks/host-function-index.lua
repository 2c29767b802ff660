-- ends: error
return cache.get.__index
