-- match report:*, on ON_EVICT: keeps the books of what it will cost to make the evicted entries again.
-- cost is what the writer said that the value took, in a unit of its own.
local lost = (cache.get("lost:cost") or 0) + event.cost
cache.set("lost:cost", lost)
cache.emit("evicted", { key = event.key, cost = event.cost, lost = lost })
