-- ends: ok
return load(cache.get) and nil
