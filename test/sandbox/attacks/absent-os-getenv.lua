-- ends: ok
return os.getenv
