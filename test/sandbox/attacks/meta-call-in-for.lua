-- ends: timeout
for _ in setmetatable({}, { __call = function() return 1 end }) do end
