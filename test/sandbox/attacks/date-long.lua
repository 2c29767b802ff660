-- ends: memory
return os.date(('%c'):rep(5000))
