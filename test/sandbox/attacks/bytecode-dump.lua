-- ends: ok
return string.dump
