-- ends: killed
return (('x'):rep(2000)):find(('x-'):rep(20) .. 'y')
