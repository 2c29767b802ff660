-- ends: killed
return (('a'):rep(3000)):match('^(a-)(a-)(a-)(a-)%4%3%2%1b')
