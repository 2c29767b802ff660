-- ends: error
error(setmetatable({}, { __metatable = 'mine' }))
