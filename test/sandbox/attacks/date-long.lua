-- ends: error
return os.date(('%c'):rep(5000))
