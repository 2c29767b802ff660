-- ends: error
rawset(string, 'format', nil)
