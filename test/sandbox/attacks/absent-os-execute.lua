-- ends: ok
return os.execute
