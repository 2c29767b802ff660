-- ends: ok
return warn
