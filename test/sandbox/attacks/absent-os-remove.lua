-- ends: ok
return os.remove
