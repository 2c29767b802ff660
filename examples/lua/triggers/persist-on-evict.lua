-- name: persist-on-evict
-- match: draft:*
-- on: ON_EVICT
-- timeout: 500
-- memory: 262144
--
-- A draft that has to make room is not lost: it goes to the service that stores drafts, once, under an id that says which
-- version of it this was.

local store = cache.get("config:draft-store")
if store then
  cache.webhook(store, { key = event.key, value = event.value, metadata = event.metadata }, {
    id = "draft-" .. event.version .. "-" .. string.gsub(event.key, "[^%w:-]", "_"),
    headers = { ["x-reason"] = event.cause },
  })
else
  cache.log("drafts", { lost = event.key })
end

-- test: an evicted draft goes to the store
-- given: ON_EVICT draft:9 {"text": "Dear Ada"} metadata {"author": "grace"}
-- given: cache config:draft-store https://drafts.example/
-- expect: webhook https://drafts.example/ {"key": "draft:9", "value": {"text": "Dear Ada"}, "metadata": {"author": "grace"}}
-- expect: no logs

-- test: without a store the loss is logged
-- given: ON_EVICT draft:9 {"text": "Dear Ada"}
-- expect: log drafts {"lost": "draft:9"}
-- expect: no webhooks
