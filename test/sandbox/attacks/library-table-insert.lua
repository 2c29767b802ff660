-- ends: error
table.insert(table, 1)
