-- ends: ok
return package
