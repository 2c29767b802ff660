-- ends: ok
return load('return _ENV')() ~= _ENV
