-- ends: error
collectgarbage()
