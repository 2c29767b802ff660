-- name: session-ended
-- match: session:*
-- on: ON_EXPIRE
-- timeout: 200
--
-- Tells the application that a session is over, though nobody asked for it. The session's metadata says whom to tell
-- (hook) and whose it was; the webhook's id is the same however often it is sent, so that a receiver drops repeats.

if event.metadata.hook then
  cache.webhook(event.metadata.hook, {
    session = event.key,
    user = event.value,
    seconds_late = event.late,
  })
end

-- test: the application learns whose session is over
-- given: ON_EXPIRE session:42 ada metadata {"hook": "https://shop.example/ended"}
-- expect: webhook https://shop.example/ended {"session": "session:42", "user": "ada", "seconds_late": 0}
-- expect: no sets

-- test: a session without a hook ends in silence
-- given: ON_EXPIRE session:42 ada
-- expect: nothing
