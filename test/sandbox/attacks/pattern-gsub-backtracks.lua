-- ends: killed
return ('a'):rep(3000):gsub('.-.-.-b', '')
