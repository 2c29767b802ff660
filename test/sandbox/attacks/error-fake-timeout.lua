-- ends: error
error('timeout', 0)
