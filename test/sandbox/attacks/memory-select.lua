-- ends: memory
local function f(...) return { select(1, ...) } end
local t = {} while true do t[#t + 1] = f(table.unpack({}, 1, 100)) end
