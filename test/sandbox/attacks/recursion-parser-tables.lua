-- ends: ok
return load('return ' .. ('{'):rep(1000) .. ('}'):rep(1000))
