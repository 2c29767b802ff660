-- ends: ok
return os.setlocale
