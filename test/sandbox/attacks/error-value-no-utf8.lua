-- ends: error
error('\xff\xfe')
