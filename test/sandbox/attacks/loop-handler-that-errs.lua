-- ends: memory
xpcall(function() error('x') end, function(m) error(m) end)
while true do end
