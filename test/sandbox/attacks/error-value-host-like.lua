-- ends: error
error({ message = 'x', status = 0 })
