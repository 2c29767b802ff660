-- ends: error
string.format = nil
