-- ends: error
setmetatable(_ENV, { __index = function() return 'mine' end })
