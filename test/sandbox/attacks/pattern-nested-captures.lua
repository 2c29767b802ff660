-- ends: error
return ('x'):find(('('):rep(40))
