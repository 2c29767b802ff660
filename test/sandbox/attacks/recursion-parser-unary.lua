-- ends: ok
return load('return ' .. ('- '):rep(5000) .. '1')
