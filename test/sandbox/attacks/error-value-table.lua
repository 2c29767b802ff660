-- ends: error
error({})
