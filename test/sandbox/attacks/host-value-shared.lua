-- ends: timeout
local t = {}
for _ = 1, 14 do t = { t, t, t } end
while true do cache.put(t) end
