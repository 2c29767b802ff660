-- ends: memory
local function h(m) error(m .. 'x') end
error(select(2, xpcall(error, h, 'm')))
