-- ends: memory
while true do for _ in ('xxxx'):gmatch('x*') do end end
