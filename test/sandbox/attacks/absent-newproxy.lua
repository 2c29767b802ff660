-- ends: ok
return newproxy
