-- ends: ok
return secret
