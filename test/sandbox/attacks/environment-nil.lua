-- ends: error
_ENV = nil
print('x')
