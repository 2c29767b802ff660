-- ends: error
table.move({ 1, 2 }, 1, 2, 1, math)
