-- ends: error
error(print)
