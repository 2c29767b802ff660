-- ends: error
return ('a'):rep(30000):find(('(a'):rep(30))
