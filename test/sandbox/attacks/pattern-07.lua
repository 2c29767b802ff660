-- ends: killed
return (('(('):rep(2000)):find('%b()%b()%b()%b()x')
