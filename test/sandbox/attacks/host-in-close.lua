-- ends: memory
while true do local x <close> = setmetatable({}, { __close = cache.get }) end
