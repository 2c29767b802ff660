-- ends: timeout
local function iterator() return 1 end
for _ in iterator, nil, nil, setmetatable({}, { __close = function() while true do end end }) do break end
