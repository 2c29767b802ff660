-- name: price-guard
-- match: price:*
-- on: BEFORE_WRITE
-- failclosed
--
-- No price is stored that is none: refused where it is no number or below zero, rounded to cents where it is finer.
-- If the guard itself cannot judge, nothing is stored (failclosed).

local price = tonumber(event.value)
if not price then cache.reject("'" .. event.value .. "' is no price") end
if price < 0 then cache.reject("a price is not below zero") end
local cents = string.format("%.2f", price)
if cents ~= event.value then return cents end

-- test: a price is stored as it is
-- given: BEFORE_WRITE price:7 19.90
-- expect: store 19.90 ttl none

-- test: a price that is finer than cents is rounded, and keeps its time to live
-- given: BEFORE_WRITE price:7 19.899 ttl 60
-- expect: store 19.90 ttl 60

-- test: text is refused
-- given: BEFORE_WRITE price:7 free
-- expect: reject 'free' is no price

-- test: a price below zero is refused
-- given: BEFORE_WRITE price:7 -1
-- given: old 20.00
-- expect: reject below zero
