-- ends: ok
return load('\xef\xbb\xbf\27Lua')
