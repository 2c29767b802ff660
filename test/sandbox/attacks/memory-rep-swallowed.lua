-- ends: memory
pcall(string.rep, 'x', 1e9)
return 'swallowed'
