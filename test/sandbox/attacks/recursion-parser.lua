-- ends: ok
return load(('('):rep(1000) .. '1' .. (')'):rep(1000))
