-- ends: error
return load('local _ENV <const> = 1 return x')()
