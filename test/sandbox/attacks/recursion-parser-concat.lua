-- ends: ok
return load('return ' .. ('1 ..'):rep(3000) .. '1')
