-- Sessions that last half an hour from when they were last used. The host gives `generate_session_id`.

local lifetime = 30 * 60 -- seconds

function create(user_id, data)
  local id = generate_session_id()
  cache.put_ttl("session:" .. id, { user_id = user_id, data = data, created_at = os.time() }, lifetime)
  return id
end

function find(id)
  local session = cache.get("session:" .. id)
  if session ~= nil then cache.touch("session:" .. id, lifetime) end
  return session
end

function update(id, data)
  local session = cache.get("session:" .. id)
  if session == nil then return false end
  session.data = data
  return cache.put_ttl("session:" .. id, session, lifetime)
end

function finish(id)
  return cache.delete("session:" .. id)
end
