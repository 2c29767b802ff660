-- ends: ok
return io
