-- ends: ok
return loadfile
