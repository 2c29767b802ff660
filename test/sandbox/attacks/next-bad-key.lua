-- ends: error
return next({}, 'absent')
