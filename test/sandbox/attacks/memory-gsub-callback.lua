-- ends: memory
local big = ('y'):rep(1000)
return (('x'):rep(1000)):gsub('.', function() return big end)
