-- ends: ok
return (('a b '):rep(1000)):find('%f[%w]%f[%w].-.-.-b')
