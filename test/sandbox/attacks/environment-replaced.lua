-- ends: timeout
_ENV = {}
while 1 do end
