-- ends: ok
return (('x'):rep(3)):gsub('x', cache.get) ~= '<x><x><x>'
