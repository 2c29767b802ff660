-- ends: ok
return load('\27Lua', 'x', setmetatable({}, { __tostring = function() return 'b' end }))
