-- match price:*, on ON_WRITE: tells of changes, and remembers the price before.
if event.old_value and event.changed then
  cache.set("last:" .. event.key, event.old_value)
  cache.emit("price:changed", event.key .. " " .. event.old_value .. " -> " .. event.value)
end
