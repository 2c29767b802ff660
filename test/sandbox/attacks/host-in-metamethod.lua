-- ends: ok
local t = setmetatable({}, { __index = cache.get })
return t.x ~= nil and t.x ~= '<>'
