-- ends: ok
local seen, found = {}, nil
local function walk(t)
  if type(t) ~= 'table' or seen[t] then return end
  seen[t] = true
  for k, v in next, t do if k == 'secret' then found = true end walk(k) walk(v) end
  walk(getmetatable(t))
end
walk(_G) walk(getmetatable(''))
return found
