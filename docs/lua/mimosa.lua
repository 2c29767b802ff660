---@meta mimosa

-- What a Mimosa trigger sees and can do, for editors that read LuaCATS annotations (Lua Language Server and others).
-- In a project's .luarc.json:
--
--   { "runtime.version": "Lua 5.4", "workspace.library": ["node_modules/mimosa-cache/docs/lua/mimosa.lua"] }

---What happened, or is about to happen, to a key.
---@alias mimosa.EventType
---| "ON_WRITE" # a value was stored, new or over an old one
---| "ON_READ" # a client found the entry
---| "ON_DELETE" # a client or a trigger removed it, or it was invalidated
---| "ON_EXPIRE" # its time to live was over
---| "ON_EVICT" # it had to make room
---| "ON_FLUSH" # all keys went at once; its pattern is *
---| "ON_TOUCH" # only its time to live changed
---| "BEFORE_WRITE" # a value is about to be stored: return another one, or call cache.reject
---| "BEFORE_DELETE" # it is about to be removed: call cache.reject to keep it

---What a key can hold: bytes are strings, everything else is a structured value.
---@alias mimosa.Value string|number|boolean|table|nil

---The event that the trigger runs for. It is the chunk's argument, too: `local event = ...`.
---@class mimosa.Event
---@field type mimosa.EventType The name under which the trigger is registered for it.
---@field key string
---@field value mimosa.Value The new value; for what was deleted, expired or evicted the one that went away.
---@field old_value mimosa.Value The value before; nil where there was none.
---@field metadata table<string, any> What the writer attached to the entry. Always a table.
---@field tags string[]
---@field cost number What the writer said that the value took to make, in a unit of its own; 0 where nothing was said.
---@field timestamp number Seconds since 1970, with fractions.
---@field ttl number|nil Seconds that the entry has left; nil where it has no time to live.
---@field cause string Why: write, read, delete, expire, evict, flush, invalidate, fill or touch.
---@field version integer Counts the changes of the cache.
---@field changed boolean Whether the value is another than before.
---@field origin string Where it happened first: this start of the process, or a peer.
---@field depth integer 0 for what a client did, 1 for what a trigger of that did, and so on.
---@field cascade string The id of all that came of one operation.
---@field path string[] The triggers on the way here, the first one first.
---@field late number Seconds between an entry's deadline and its expiry.
---@field count integer How many keys a flush took; 1 for everything else.
event = {}

---@class mimosa.SetOptions
---@field ttl? number Seconds above zero, fractions allowed. Without it the entry stays.
---@field metadata? table<string, any>
---@field tags? string[]
---@field cost? number

---@class mimosa.WebhookOptions
---@field headers? table<string, string>
---@field id? string 1 to 256 printable ASCII characters without spaces, by which a receiver drops repeats.

---What a trigger can do. All of it happens when the trigger returns, or none of it when it fails.
---@class mimosa.Cache
cache = {}

---The same under another name.
cachee = cache

---The value of a key, as this run sees it: what it has written itself comes first. Fires no ON_READ.
---@param key string
---@return mimosa.Value
function cache.get(key) end

---Stores a value; nil is none, and an error. Not for BEFORE_ triggers, which return the value instead.
---@param key string
---@param value mimosa.Value
---@param options? mimosa.SetOptions
---@return true
function cache.set(key, value, options) end

---Removes a key; whether it was there. Not for BEFORE_ triggers.
---@param key string
---@return boolean
function cache.delete(key) end

---Has keys loaded anew by their loaders once the operation is over; those that are here are invalidated first, which
---peers hear of. A key that no loader is for is left as it is, and TRIGGER LOG says so. Not for BEFORE_ triggers.
---@param keys string|string[]
function cache.warm(keys) end

---Refuses the write or delete that a BEFORE_ trigger is asked about; the client is answered `REJECTED` and the reason.
---@param reason? mimosa.Value
function cache.reject(reason) end

---The paths at which two values differ, such as `lines[2].price`; "" for the whole, and at most 1,000 of them.
---@param before mimosa.Value
---@param after mimosa.Value
---@return string[]
function cache.diff(before, after) end

---Publishes to the subscribers of a channel. A table is published as JSON.
---@param channel string
---@param payload? mimosa.Value
function cache.emit(channel, payload) end

---Adds a line to a log stream (LOGS, mimosa logs), or a message to the stream "default".
---@param stream string
---@param fields mimosa.Value
---@overload fun(message: mimosa.Value)
function cache.log(stream, fields) end

---Sends a webhook once the operation is over, at least once, as JSON. Returns its id.
---@param url string
---@param payload mimosa.Value
---@param options? mimosa.WebhookOptions
---@return string
function cache.webhook(url, payload, options) end
