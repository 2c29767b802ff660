-- ends: error
return cache.__proto__ or cache.constructor or cache.get.constructor
