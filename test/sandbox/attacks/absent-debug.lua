-- ends: ok
return debug
