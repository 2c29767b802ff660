-- ends: ok
return loadstring
