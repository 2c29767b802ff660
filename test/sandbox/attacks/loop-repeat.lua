-- ends: timeout
repeat until false
