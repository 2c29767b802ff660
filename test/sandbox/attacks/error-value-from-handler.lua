-- ends: error
error(select(2, xpcall(error, function() return setmetatable({}, { __tostring = error }) end)))
