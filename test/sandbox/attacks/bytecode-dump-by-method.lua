-- ends: error
return (''):dump(print)
