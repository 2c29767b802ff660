-- ends: error
return {} < 1
