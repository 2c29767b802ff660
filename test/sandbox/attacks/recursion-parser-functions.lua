-- ends: ok
return load(('return function() '):rep(250) .. ('end '):rep(250))
