-- ends: killed
return (('a'):rep(3000)):find('(a*)*b')
