-- ends: memory
load(function() return ('x'):rep(1e9) end)
return 'swallowed'
