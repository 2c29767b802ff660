-- ends: ok
for k, v in next, _ENV do if k ~= '_G' and k ~= 'load' and k ~= 'event' then return true end end
