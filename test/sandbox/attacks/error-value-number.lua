-- ends: error
error(42)
