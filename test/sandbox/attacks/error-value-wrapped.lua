-- ends: error
error(select(2, pcall(error, setmetatable({}, { __tostring = error }))))
