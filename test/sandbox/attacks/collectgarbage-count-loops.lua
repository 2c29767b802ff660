-- ends: timeout
while true do collectgarbage('count') end
