-- ends: error
error('x', 1e9)
