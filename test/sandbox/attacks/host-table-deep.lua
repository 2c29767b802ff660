-- ends: ok
local t = {}
for _ = 1, 300 do t = { t } end
return cache.put(t)
