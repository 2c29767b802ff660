-- ends: error
error(0 / 0)
