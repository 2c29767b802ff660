-- ends: memory
return string.pack('s4s4s4s4s4', ('x'):rep(15000), ('x'):rep(15000), ('x'):rep(15000), ('x'):rep(15000), ('x'):rep(15000))
