-- ends: timeout
while true do string.unpack('i8', string.pack('i8', 1)) string.packsize('i16') end
