-- ends: error
return ('x'):rep(math.maxinteger)
