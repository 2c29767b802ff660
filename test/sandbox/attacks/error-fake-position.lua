-- ends: error
error('attack:99: not there', 0)
