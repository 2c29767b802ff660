-- Values that go by themselves: seconds, with fractions.

function remember()
  local kept = cache.put_ttl("flash", "gone in a second and a half", 1.5)
  local refused = cache.put_ttl("flash2", "never", 0) -- a time to live that is not above zero stores nothing
  return { kept = kept, refused = refused, ttl = cache.ttl("flash") }
end

function recall()
  return cache.get("flash", "it has expired")
end
