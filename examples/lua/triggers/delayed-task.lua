-- name: delayed-task
-- match: task:*
-- on: ON_EXPIRE
--
-- A task is a key that expires when it is due: SET task:mail:7 '…' EX 3600. Its value goes to the channel that its
-- metadata names. One that is to be repeated sets itself again, so many times.

cache.emit(event.metadata.channel or "tasks", { task = event.key, payload = event.value })

local left = (event.metadata.times or 1) - 1
if left > 0 then
  cache.set(event.key, event.value, {
    ttl = event.metadata.every,
    metadata = { channel = event.metadata.channel, every = event.metadata.every, times = left },
  })
end

-- test: a task that is due goes to its channel, and is gone
-- given: ON_EXPIRE task:mail:7 "remind Ada" metadata {"channel": "mail"}
-- expect: emit mail {"task": "task:mail:7", "payload": "remind Ada"}
-- expect: no sets

-- test: a task that is to be repeated comes back
-- given: ON_EXPIRE task:poll "look" metadata {"every": 60, "times": 3}
-- expect: emit tasks {"task": "task:poll", "payload": "look"}
-- expect: set task:poll look ttl 60 metadata {"every": 60, "times": 2}

-- test: the last time is the last
-- given: ON_EXPIRE task:poll "look" metadata {"every": 60, "times": 1}
-- expect: 1 emit
-- expect: no sets
