-- ends: ok
return load('\27Lua', 'x', 'bt')
