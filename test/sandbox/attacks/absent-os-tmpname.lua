-- ends: ok
return os.tmpname
