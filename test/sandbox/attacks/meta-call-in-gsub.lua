-- ends: timeout
return ('x'):gsub('x', setmetatable({}, { __call = function() while true do end end, __index = function() while true do end end }))
