-- ends: error
local x <close> = setmetatable({}, { __close = function() error({}) end })
error('first')
