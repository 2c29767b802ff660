-- ends: ok
return '10' + '0x1p4' + ('9'):rep(1000)
