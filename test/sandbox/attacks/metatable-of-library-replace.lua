-- ends: error
setmetatable(string, {})
