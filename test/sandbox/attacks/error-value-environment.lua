-- ends: error
error(_ENV)
