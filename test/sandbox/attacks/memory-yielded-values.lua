-- ends: memory
local co = coroutine.wrap(function(...) while true do coroutine.yield(...) end end)
local t = {} while true do t[#t + 1] = { co(table.unpack({}, 1, 100)) } end
