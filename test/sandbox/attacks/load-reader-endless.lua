-- ends: timeout
load(function() return ' ' end)
