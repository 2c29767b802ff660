-- ends: ok
return rawget(_G, 'secret')
