-- ends: memory
return string.pack('!16 i16 c2147483000', 1, 'x')
