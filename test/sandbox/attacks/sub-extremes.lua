-- ends: ok
return ('x'):sub(math.mininteger, math.maxinteger)
