-- name: audit-deletes
-- match: customer:*
-- on: ON_DELETE
-- priority: 100
--
-- Nothing of a customer goes without a trace: what went, why, and in which cascade.

cache.log("audit", {
  key = event.key,
  cause = event.cause,
  was = event.old_value,
  by = event.metadata.owner,
  cascade = event.cascade,
  depth = event.depth,
})

-- test: what was deleted is on record
-- given: ON_DELETE customer:7 {"name": "Ada", "city": "London"} metadata {"owner": "sales"}
-- expect: log audit {"key": "customer:7", "cause": "delete", "was": {"name": "Ada"}, "by": "sales", "depth": 0}
-- expect: no webhooks
