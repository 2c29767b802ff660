-- ends: error
error(setmetatable({}, { __tostring = error }))
