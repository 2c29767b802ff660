-- ends: ok
load('leaked = true')()
return leaked ~= true
