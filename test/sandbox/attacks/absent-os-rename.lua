-- ends: ok
return os.rename
