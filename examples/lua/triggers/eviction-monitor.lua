-- name: eviction-monitor
-- match: report:*
-- on: ON_EVICT
--
-- Keeps the books of what it will cost to make the evicted reports again. The cost is what the writer said that the value
-- took (SET … COST 80), in a unit of its own.

local lost = (cache.get("evictions:cost") or 0) + event.cost
cache.set("evictions:cost", lost)
if event.cost >= 1000 then
  cache.emit("evictions:dear", { key = event.key, cost = event.cost, lost = lost })
end

-- test: costs add up
-- given: ON_EVICT report:tuesday "…" cost 80
-- given: cache evictions:cost json:300
-- expect: set evictions:cost 380
-- expect: no emits

-- test: the first eviction begins the sum
-- given: ON_EVICT report:tuesday "…" cost 80
-- expect: set evictions:cost 80

-- test: a dear report is told of at once
-- given: ON_EVICT report:year "…" cost 12000
-- expect: emit evictions:dear {"key": "report:year", "cost": 12000, "lost": 12000}
