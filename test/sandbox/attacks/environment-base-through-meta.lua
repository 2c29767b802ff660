-- ends: ok
return rawget(_ENV, 'print')
