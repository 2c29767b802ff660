---@meta mimosa-scripts

-- What a tenant's script can call, for editors that read LuaCATS annotations (Lua Language Server and others). In the
-- .luarc.json of a project of scripts, which have another `cache` than triggers:
--
--   { "runtime.version": "Lua 5.4", "workspace.library": ["node_modules/mimosa-cache/docs/lua/mimosa-scripts.lua"] }

---What a key can hold: all plain data. Bytes, integers, floats, booleans and nil come back as what they were, tables as
---copies, nested up to 16 deep and of up to 10,000 parts. Functions, coroutines and cycles cannot be stored.
---@alias mimosa.Value string|number|boolean|table|lightuserdata|nil

---A string of any bytes, 64 KiB at most. A number is the key that `..` would make of it, so 5 and 5.0 are two keys.
---The tenant's prefix is put on by the host.
---@alias mimosa.Key string|number

---The tenant's own entries. Each call is an operation by itself: it is done when it returns, fires the tenant's triggers,
---and stays done whatever becomes of the run. Where a function answers false, or incr nil, because something cannot be
---done, the script's log says why. A mistake of the program is an error at its line: what is no key, no number where
---there is to be one, an argument too many.
---@class mimosa.ScriptCache
cache = {}

---The value of a key; the default where there is none, which is nil if nothing is said. A stored nil is nil, not the
---default. Counts as use, and fires ON_READ.
---@param key mimosa.Key
---@param default? any
---@return any
function cache.get(key, default) end

---Stores a value, nil included, and clears the key's time to live, which put_ttl gives. False for what cannot be
---stored, does not fit, or is refused by a BEFORE_WRITE trigger: then the old value stays.
---@param key mimosa.Key
---@param value mimosa.Value
---@return boolean
function cache.put(key, value) end

---Stores a value for so many seconds, fractions allowed, to the millisecond above. False where they are not above zero,
---and where put would answer so.
---@param key mimosa.Key
---@param value mimosa.Value
---@param seconds number
---@return boolean
function cache.put_ttl(key, value, seconds) end

---Removes a key; whether it was there. False, too, where a BEFORE_DELETE trigger keeps it.
---@param key mimosa.Key
---@return boolean
function cache.delete(key) end

---Whether there is such a key, also one that holds nil. No use, no event.
---@param key mimosa.Key
---@return boolean
function cache.has(key) end

---Adds to an integer, 1 where nothing is said, and returns the new one: in one step, which no other script comes between.
---A key that is not there counts from 0 and gets the time to live; one that is there keeps its own, and its kind: decimal
---digits stay a string. Nil where the key holds no integer, it would exceed 64 bits, or a BEFORE_WRITE trigger refuses
---it.
---@param key mimosa.Key
---@param by? integer
---@param ttl_seconds? number
---@return integer|nil
function cache.incr(key, by, ttl_seconds) end

---Counts as use; with seconds, gives the entry a new time to live, which fires ON_TOUCH. Whether it is there.
---@param key mimosa.Key
---@param seconds? number
---@return boolean
function cache.touch(key, seconds) end

---Seconds that the entry has left; nil where there is none, or where it has no time to live.
---@param key mimosa.Key
---@return number|nil
function cache.ttl(key) end

---The keys that begin with a prefix, in the order of their bytes: the first 1,000, or as many as the limit says, 10,000 at
---most. Goes over all keys of the tenant, some 5 ms for 50,000, and is paused like any other long computing: a key that
---comes or goes meanwhile may be among them or not.
---@param prefix mimosa.Key
---@param limit? integer
---@return string[]
function cache.keys(prefix, limit) end

---Plain JSON, of up to 512 KiB and 10,000 values nested up to 16 deep. Integers and floats stay apart: 1 is `1`, 1.0 is
---`1.0`. What JSON has no words for is an error: bytes that are no UTF-8, infinities, NaN, tables that are neither lists
---(1 to n without holes) nor objects (strings as keys).
---@class mimosa.Json
---@field null lightuserdata Null within tables, which hold no nil: `t.next == json.null`. It is true in a condition.
---@field empty_array lightuserdata Is written as `[]`; an empty table is written as `{}`. Both are read as empty tables.
json = {}

---The text of a value. Objects have their members in no particular order.
---@param value mimosa.Value
---@return string
function json.encode(value) end

---The value of a text. Null is json.null within tables, and nil by itself; of several members of one name the last counts.
---@param text string
---@return any
function json.decode(text) end

---What is asked of another host.
---@class mimosa.HttpRequest
---@field url string
---@field method? "GET"|"HEAD"|"POST"|"PUT"|"PATCH"|"DELETE"|"OPTIONS" GET, where nothing is said.
---@field headers? { [string]: string|number }
---@field body? string|table A table is sent as JSON. At most 1 MiB.
---@field timeout? number Seconds for all of it, 300 at most; up to 10 ms before the run's time to wait is over.

---The answer, whatever its status; or why there is none.
---@class mimosa.HttpResponse
---@field success boolean
---@field data? { status: integer, headers: { [string]: string }, body: string } Names of headers are in lower case: headers["content-type"].
---@field error? string

---Other hosts, as far as the operator allows: those that `--http-allow` names, and private addresses
---among them that `--egress-allow` names.
---@class mimosa.Http
http = {}

---Asks another host, and waits for its answer; other scripts go on meanwhile. Asks once: it is not tried again. A request
---that makes no sense is an error, one that is refused or not answered has success false; one to a host that is not
---allowed is answered at once. Takes 40,000 units of fuel, 0.16 ms of the run's computing.
---@param request mimosa.HttpRequest
---@return mimosa.HttpResponse
function http.request(request) end
