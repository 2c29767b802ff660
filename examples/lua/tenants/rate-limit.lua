-- At most so many requests of one user in each window of time.

-- By cache.incr, which counts right whatever happens between two calls.
function check_rate_limit(user_id, limit, window)
  local count = cache.incr("rate_limit:" .. user_id, 1, window) -- the deadline is set by the first of a window
  local allowed = count <= limit
  return { allowed = allowed, remaining = math.max(0, limit - count), reset_in = cache.ttl("rate_limit:" .. user_id) }
end

-- As in the textbook, with get and put. It is right as long as the script does not wait in between; when it does (here
-- for the answer of `audit_url`), another run reads the same count, and both are let through as one.
function check_by_get_and_put(user_id, limit, window)
  local key = "rate_limit_old:" .. user_id
  local count = cache.get(key, 0)
  if audit_url then http.request { url = audit_url .. "?user=" .. user_id } end
  if count >= limit then return { allowed = false } end
  cache.put_ttl(key, count + 1, window)
  return { allowed = true }
end

-- The same wait, and the count of cache.incr.
function check_with_audit(user_id, limit, window)
  local count = cache.incr("rate_limit_new:" .. user_id, 1, window)
  if audit_url then http.request { url = audit_url .. "?user=" .. user_id } end
  return { allowed = count <= limit }
end
