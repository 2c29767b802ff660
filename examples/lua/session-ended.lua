-- match session:*, on ON_EXPIRE: tells the shop that a session is over, though nobody asked for it.
-- metadata.hook is the URL that is told; event.value is the session that went away.
cache.webhook(event.metadata.hook, {
  session = event.key,
  user = event.value,
  seconds_late = event.late,
})
