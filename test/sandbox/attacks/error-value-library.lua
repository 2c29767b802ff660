-- ends: error
error(string)
