-- ends: ok
return load('return secret', 'x', 't', _G)() or load('return secret')()
