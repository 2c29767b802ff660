-- ends: ok
for k in pairs(string) do return true end
