-- ends: error
return ('a'):rep(5000):match(('a?'):rep(5000) .. 'b')
