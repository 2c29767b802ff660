-- ends: killed
return (('a'):rep(1000)):find('.*.*.*.*.*x')
