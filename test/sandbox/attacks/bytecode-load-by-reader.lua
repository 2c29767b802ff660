-- ends: ok
local parts = { '\27', 'Lua' }
return load(function() return table.remove(parts, 1) end, 'x', 'b')
