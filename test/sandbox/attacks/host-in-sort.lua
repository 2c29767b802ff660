-- ends: ok
table.sort({ 3, 2, 1 }, cache.put)
