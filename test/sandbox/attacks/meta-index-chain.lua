-- ends: timeout
local t = {}
for _ = 1, 190 do t = setmetatable({}, { __index = t }) end
while true do local x = t.missing end
