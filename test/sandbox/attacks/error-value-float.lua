-- ends: error
error(1/0)
