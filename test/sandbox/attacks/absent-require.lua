-- ends: ok
return require
