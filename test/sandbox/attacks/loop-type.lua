-- ends: timeout
while true do type(nil) math.type(1) rawlen('x') end
