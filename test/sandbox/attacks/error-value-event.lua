-- ends: error
error(event)
