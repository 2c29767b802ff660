-- ends: ok
return pcall(rawset, os, 'time', print) or pcall(rawset, coroutine, 'wrap', print)
