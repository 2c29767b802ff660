-- ends: error
error(false)
