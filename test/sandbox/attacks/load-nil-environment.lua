-- ends: error
return load('return print', 'x', 't', nil)()
