-- ends: killed
return (('ab'):rep(3000)):find('^(.-)%1%1%1$')
