-- ends: timeout
while true do tostring(12) end
