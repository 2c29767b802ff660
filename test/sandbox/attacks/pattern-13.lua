-- ends: killed
return (('%'):rep(3000)):find('%%-%%-%%-%%-x')
