-- Answers of a slow API, kept for five minutes. The host gives `api_url` and `api_token`.

function main(user_id)
  local key = "api_response:" .. user_id
  local cached = cache.get(key)
  if cached ~= nil then return { source = "cache", user = cached } end

  local response = http.request {
    method = "GET",
    url = api_url .. "/users/" .. user_id,
    headers = { authorization = "Bearer " .. api_token, accept = "application/json" },
    timeout = 5
  }
  if not response.success then return { source = "none", error = response.error } end
  if response.data.status ~= 200 then return { source = "none", error = "status " .. response.data.status } end

  local user = json.decode(response.data.body)
  cache.put_ttl(key, user, 300)
  return { source = "api", user = user }
end
