-- ends: error
getmetatable('').__index = function() end
