-- ends: ok
return next(string) or next(cache) or next(math)
