-- ends: error
error(math.mininteger)
