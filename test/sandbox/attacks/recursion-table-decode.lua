-- ends: ok
local t = {}
for _ = 1, 100 do t = { t } end
return cache.put(t)
