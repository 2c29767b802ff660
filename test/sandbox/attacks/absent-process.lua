-- ends: ok
return process
