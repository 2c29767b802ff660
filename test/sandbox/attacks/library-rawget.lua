-- ends: ok
return rawget(string, 'format')
