-- ends: error
collectgarbage('stop')
