-- ends: ok
local m = getmetatable('')
return type(m) == 'table'
