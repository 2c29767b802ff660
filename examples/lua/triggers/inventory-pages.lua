-- name: inventory-pages
-- match: inventory:*
-- on: ON_WRITE, ON_DELETE
-- when: changed
--
-- The stock of an article has changed: the pages that show it, which its metadata names, go. The next visitor has them
-- made anew, and nobody sees the old number.

local pages = event.metadata.pages or {}
local gone = 0
for _, page in ipairs(pages) do
  if cache.delete(page) then gone = gone + 1 end
end
return gone

-- test: the pages that show the article go, if they are there
-- given: ON_WRITE inventory:7 12 metadata {"pages": ["page:/shoes", "page:/shoes/7", "page:/sale"]}
-- given: old 13
-- given: cache page:/shoes "<html>13 left</html>"
-- given: cache page:/shoes/7 "<html>13 left</html>"
-- expect: delete page:/shoes
-- expect: delete page:/shoes/7
-- expect: 2 deletes
-- expect: return 2

-- test: an article that is on no page changes nothing else
-- given: ON_WRITE inventory:7 12
-- expect: nothing
