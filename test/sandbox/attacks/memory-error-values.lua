-- ends: memory
while true do pcall(error, ('x'):rep(1000) .. math.random()) end
