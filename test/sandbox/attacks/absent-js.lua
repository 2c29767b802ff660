-- ends: ok
return js
