-- ends: memory
return ('x'):rep(1e8, 'yyyyyyyyyy')
