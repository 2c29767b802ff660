-- ends: memory
print(('x'):rep(60000), ('y'):rep(60000))
