-- ends: error
error(('x'):rep(30000))
