-- ends: error
collectgarbage('generational')
