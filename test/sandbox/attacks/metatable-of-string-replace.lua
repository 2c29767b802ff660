-- ends: error
setmetatable('', {})
