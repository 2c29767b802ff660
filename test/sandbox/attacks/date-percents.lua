-- ends: timeout
local format = ('%c'):rep(256)
while true do os.date(format) end
