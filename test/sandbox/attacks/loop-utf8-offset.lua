-- ends: timeout
local s = ('\u{10ffff}'):rep(3000)
while true do utf8.offset(s, 2999) end
