-- ends: ok
return dofile
