-- ends: error
error(setmetatable({}, { __name = function() while true do end end }))
