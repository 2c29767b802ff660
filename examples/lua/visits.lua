-- Greets visitors and counts them. The host gives `greeting`, a value, and `ticket`, a function.

function main(name)
  local visits = cache.incr("visits:" .. name)
  return greeting .. " " .. name .. ", visit " .. visits .. ", ticket " .. ticket()
end

-- Somebody's mistake: it never ends.
function report()
  while true do end
end
