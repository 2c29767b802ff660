-- ends: timeout
while true do os.date('%c') end
