-- name: sensitive-reads
-- match: secret:*
-- on: ON_READ
-- priority: 100
--
-- Who reads what is marked as sensitive leaves a line, and the value itself is in none.

if event.metadata.class == "sensitive" then
  cache.log("reads", { key = event.key, class = event.metadata.class, at = event.timestamp })
end

-- test: the read of a sensitive value leaves a line without the value
-- given: ON_READ secret:card 4111111111111111 metadata {"class": "sensitive"}
-- expect: log reads {"key": "secret:card", "class": "sensitive", "at": 1767225600}
-- expect: 1 log

-- test: other reads leave none
-- given: ON_READ secret:card 4111111111111111 metadata {"class": "public"}
-- expect: nothing
