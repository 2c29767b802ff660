-- name: rate-limit-compliance
-- match: rate:*
-- on: ON_WRITE
--
-- Keeps a record of who went over the limit that the counter's metadata states, and by how much.
-- Read it with: LOGS compliance, or mimosa logs -f compliance

local limit = tonumber(event.metadata.limit)
if limit and tonumber(event.value) > limit then
  cachee.log("compliance", {
    client = string.sub(event.key, #"rate:" + 1),
    count = tonumber(event.value),
    limit = limit,
    at = event.timestamp,
  })
end

-- test: a client over its limit is recorded
-- given: ON_WRITE rate:10.0.0.7 101 metadata {"limit": 100}
-- given: now 2026-03-01T00:00:00Z
-- expect: log compliance {"client": "10.0.0.7", "count": 101, "limit": 100, "at": 1772323200}
-- expect: 1 log

-- test: a client at its limit is not
-- given: ON_WRITE rate:10.0.0.7 100 metadata {"limit": 100}
-- expect: nothing

-- test: a limit that came as text counts as a number
-- given: ON_WRITE rate:10.0.0.7 9 metadata {"limit": "10"}
-- expect: nothing
