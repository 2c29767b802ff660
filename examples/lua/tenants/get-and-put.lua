-- What the cache keeps: every type of Lua, as it was.

function main()
  -- A key that is not there is nil, or the default.
  local missing = cache.get("nothing")
  local default = cache.get("nothing", "default")
  assert(missing == nil and default == "default")

  -- put answers true when the value is stored.
  assert(cache.put("string", "Hello, world"))
  assert(cache.put("bytes", "\0\255\n"))
  assert(cache.put("integer", 42))
  assert(cache.put("float", 3.0))
  assert(cache.put("boolean", false))
  assert(cache.put("list", { 1, 2, 3 }))
  assert(cache.put("table", { name = "Alice", tags = { "a", "b" }, scores = { [10] = 1.5, ten = true } }))

  -- A stored nil is a value: it comes back as nil, and not as the default.
  assert(cache.put("nil", nil))
  assert(cache.get("nil", "default") == nil)
  assert(cache.has("nil") and not cache.has("nothing"))

  -- What cannot be stored answers false; the script's log says why.
  assert(cache.put("function", print) == false)

  assert(math.type(cache.get("integer")) == "integer")
  assert(math.type(cache.get("float")) == "float")

  return {
    string = cache.get("string"),
    bytes = #cache.get("bytes"),
    integer = cache.get("integer"),
    float = cache.get("float"),
    boolean = cache.get("boolean"),
    list = cache.get("list"),
    name = cache.get("table").name,
    score = cache.get("table").scores[10]
  }
end
