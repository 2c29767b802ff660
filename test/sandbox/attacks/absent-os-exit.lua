-- ends: ok
return os.exit
