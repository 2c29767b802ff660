-- Counts what this tenant has seen. Two tenants run this very file and never meet:
-- what is `user_count` here is tenant_123:user_count for the one, and tenant_456:user_count for the other.

function main()
  local count = cache.get("user_count", 0)
  cache.put("user_count", count + 1)
  return cache.get("user_count")
end
