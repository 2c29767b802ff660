-- ends: error
error(true)
