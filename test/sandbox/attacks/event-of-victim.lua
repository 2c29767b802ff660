-- ends: ok
return event.secret
