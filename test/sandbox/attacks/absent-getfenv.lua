-- ends: ok
return getfenv
