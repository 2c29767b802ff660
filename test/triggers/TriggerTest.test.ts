/** Inline tests: what passes, what fails, and what is said then. */
import { describe, expect, it } from "vitest"
import { parse, TriggerFileError } from "../../src/triggers/TriggerFile.ts"
import { runTest } from "../../src/triggers/TriggerTest.ts"

/** The failures of a file with this Lua and one test of these lines, without the lines' numbers. */
const failures = (lua: string, lines: readonly string[], on = "ON_WRITE, ON_EXPIRE, ON_DELETE, ON_EVICT, ON_READ") => {
  const test = lines.map((line) => `-- ${line}\n`).join("")
  const file = parse("t.lua", `-- match: *\n-- on: ${on}\n${lua}\n-- test: it\n${test}`)
  if (file instanceof TriggerFileError) throw file
  return file.tests
    .flatMap((test) => runTest(file.definition, test))
    .map(({ expected, actual }) => [expected, ...actual])
}

const write = "given: ON_WRITE k v"

describe("what is given", () => {
  it.each([
    ["ON_WRITE k v", "", 'ON_WRITE k "v" nil {} 0'],
    ["ON_WRITE k v", "old u", 'ON_WRITE k "v" "u" {} 0'],
    ['ON_EXPIRE "a b" 7 metadata {"a": [1]} cost 2.5', "", 'ON_EXPIRE a b "7" "7" {"a":[1]} 2.5'],
    ["ON_EVICT k json:7", "", "ON_EVICT k 7 7 {} 0"],
    ["ON_DELETE k {}", "", "ON_DELETE k {} {} {} 0"],
    ["ON_READ k [1,2]", "", "ON_READ k [1,2] nil {} 0"],
    ["ON_READ k json:true", "", "ON_READ k true nil {} 0"]
  ])("%j, then %j, is what the trigger sees", (event, more, seen) => {
    const lua = `
      local function shown(v)
        if type(v) == "string" then return '"' .. v .. '"' end
        if type(v) ~= "table" then return tostring(v) end
        local parts = {}
        if #v > 0 then
          for i, item in ipairs(v) do parts[i] = shown(item) end
          return "[" .. table.concat(parts, ",") .. "]"
        end
        for name, item in pairs(v) do parts[#parts + 1] = '"' .. name .. '":' .. shown(item) end
        return "{" .. table.concat(parts, ",") .. "}"
      end
      return table.concat({ event.type, event.key, shown(event.value), shown(event.old_value), shown(event.metadata),
        string.format("%.14g", event.cost) }, " ")`
    const given = [`given: ${event}`, ...(more === "" ? [] : [`given: ${more}`])]
    expect(failures(lua, [...given, `expect: return ${JSON.stringify(seen)}`])).toEqual([])
  })

  it("may be tags, a time to live, and the time", () => {
    const lua = "return { event.tags, event.ttl, event.timestamp }"
    const given = ["given: ON_WRITE k v ttl 1.5 tags a,b", "given: now 2026-01-02T00:00:00Z"]
    expect(failures(lua, [...given, 'expect: return [["a", "b"], 1.5, 1767312000]'])).toEqual([])
  })

  it("may be the count of a flush", () => {
    const lua = "return { event.type, event.count }"
    expect(failures(lua, ["given: ON_FLUSH 12", 'expect: return ["ON_FLUSH", 12]'], "ON_FLUSH")).toEqual([])
  })

  it("is in the cache, unless its time is over; nothing else is", () => {
    const lua = 'return { cache.get("a").n, cache.get("b"), tostring(cache.get("c")), tostring(cache.get("k")) }'
    const given = [write, 'given: cache a {"n": 1}', 'given: cache b "x y" ttl 5', "given: cache c 1 ttl 0"]
    expect(failures(lua, [...given, 'expect: return [1, "x y", "nil", "nil"]'])).toEqual([])
  })
})

describe("what is expected", () => {
  const lua = `
    cache.set("a", { n = 1, deep = { x = 1, y = 2 } }, { ttl = 1.5, metadata = { by = "me", at = 1 }, tags = { "t", "u" }, cost = 2 })
    cache.set("a b", 7) cache.delete("gone") cache.emit("ch", "hi there") cache.emit("ch", { n = 1, m = 2 })
    cache.webhook("https://a", { n = 1, list = { 1, { x = 1, y = 2 } } }) cache.webhook("https://a", "text")
    cache.log("s", { f = 1, g = 2 }) cache.log("s", "two words") print("said", 1)
    return { ok = true }`
  const given = [write, "given: cache gone 1"]

  it.each([
    "ok",
    "return {}",
    'return {"ok": true}',
    "set a",
    'set a {"deep": {"y": 2}} ttl 1.5 metadata {"by": "me"} tags t,u cost 2',
    'set "a b" 7 ttl none',
    'set "a b" json:7',
    "delete gone",
    "emit ch",
    'emit ch "hi there"',
    'emit ch {"n": 1}',
    "webhook https://a",
    'webhook https://a {"list": [1, {"x": 1}]}',
    "webhook https://a text",
    "log s",
    'log s {"f": 1}',
    'log s "two words"',
    "print",
    "print said\t1",
    "2 sets",
    "1 delete",
    "2 emits",
    "2 webhooks",
    "2 logs",
    "1 print"
  ])("is met: %s", (line) => {
    expect(failures(lua, [...given, `expect: ${line}`])).toEqual([])
  })

  const sets = [
    'set a {"deep":{"x":1,"y":2},"n":1} ttl 1.5 metadata {"at":1,"by":"me"} tags t,u cost 2',
    'set "a b" json:7'
  ]
  const emits = ['emit ch "hi there"', 'emit ch {"m":2,"n":1}']
  const webhooks = ['webhook https://a {"list":[1,{"x":1,"y":2}],"n":1}', 'webhook https://a "text"']
  const logs = ['log s {"f":1,"g":2}', 'log s "two words"']
  it.each<[string, readonly string[]]>([
    ["error", ["ok"]],
    ["return 1", ['return {"ok":true}']],
    ['return {"ok": true, "more": 1}', ['return {"ok":true}']],
    ["set b", sets],
    ["set a ttl 2", sets],
    ["set a ttl none", sets],
    ['set a metadata {"by": "you"}', sets],
    ["set a tags t", sets],
    ["set a cost 3", sets],
    ['set a {"deep": {"z": 1}}', sets],
    ['set "a b" 8', sets],
    ["delete a", ["delete gone"]],
    ["emit news", emits],
    ['emit ch {"n": 2}', emits],
    ["webhook https://b", webhooks],
    ['webhook https://a {"list": [1]}', webhooks],
    ["log t", logs],
    ["print other", ["print said\t1"]],
    ["no sets", ["2 sets", ...sets]],
    ["nothing", [...sets, "delete gone", ...emits, ...webhooks, ...logs, "print said\t1"]]
  ])("is not met, and what there was is said in the same words: %s", (line, actual) => {
    const sorted = (lines: readonly string[]) => lines.map((each) => [...each].sort().join(""))
    const [failure, ...others] = failures(lua, [...given, `expect: ${line}`])
    expect(others).toEqual([])
    expect(failure?.[0]).toBe(line)
    // The order of an object's fields is Lua's.
    expect(sorted(failure?.slice(1) ?? [])).toEqual(sorted(actual))
  })

  it("is met by another effect each time", () => {
    const twice = ["expect: emit ch", "expect: emit ch"]
    expect(failures('cache.emit("ch", 1)', [write, ...twice])).toEqual([["emit ch", "emit ch 1"]])
    expect(failures('cache.emit("ch", 1) cache.emit("ch", 1)', [write, ...twice])).toEqual([])
  })

  it("is not there at all, which is said as nothing", () => {
    expect(failures("return 1", [write, "expect: emit ch"])).toEqual([["emit ch", "nothing"]])
    expect(failures("return 1", [write, "expect: nothing"])).toEqual([])
  })
})

describe("an event that the trigger is not for", () => {
  const notFor = (given: readonly string[], ...expected: readonly string[]) => {
    const lines = [...given.map((each) => `-- given: ${each}`), ...expected.map((each) => `-- expect: ${each}`)]
    const front = "-- match: foo:*\n-- on: ON_WRITE, ON_READ\n-- when: changed\ncache.set('a', 1)\n-- test: it\n"
    const file = parse("t.lua", `${front}${lines.join("\n")}\n`)
    if (file instanceof TriggerFileError) throw file
    return file.tests
      .flatMap((test) => runTest(file.definition, test))
      .map(({ expected, actual }) => [expected, ...actual])
  }

  it.each([
    [["ON_WRITE bar:1 x"], "bar:1 is not matched by foo:*; this trigger would not run"],
    [["ON_DELETE foo:1 x"], "ON_DELETE is none of its events (ON_WRITE, ON_READ); this trigger would not run"],
    [
      ["ON_WRITE foo:1 x", "old x"],
      "the value is the one from before, and it runs when that has changed; this trigger would not run"
    ]
  ])("%j is no run: the test fails, unless it expects just that", (given, reason) => {
    expect(notFor(given, "set a", "1 set")).toEqual([["set a", reason]])
    expect(notFor(given, "nothing")).toEqual([["nothing", reason]])
    expect(notFor(given, "no run", "nothing")).toEqual([["nothing", reason]])
    expect(notFor(given, "no run")).toEqual([])
  })

  it("is not one that it is for", () => {
    expect(notFor(["ON_WRITE foo:1 x", "old y"], "set a")).toEqual([])
    expect(notFor(["ON_READ foo:1 x"], "no run")).toEqual([["no run", "a run: this trigger is for that event"]])
  })
})

describe("a run that fails", () => {
  it("fails its test, whatever else is expected", () => {
    expect(failures("error('no', 0)", [write, "expect: nothing"])).toEqual([["ok", "error no"]])
  })

  it.each([
    ["error('no such ' .. event.key)", "error no such k"],
    ["while true do end", "timeout"],
    ["return string.rep('x', 1e6)", "memory"]
  ])("by %j is expected in so many words", (lua, expected) => {
    expect(failures(lua, [write, `expect: ${expected}`])).toEqual([])
  })

  it("has no effects", () => {
    const lines = [write, "expect: error", "expect: nothing"]
    expect(failures("cache.emit('ch', 1) error('no')", lines)).toEqual([])
  })

  it("is told of when its message is another", () => {
    expect(failures("error('no', 0)", [write, "expect: error yes"])).toEqual([["error yes", "error no"]])
  })
})

describe("a trigger that is asked before", () => {
  const asked = (lua: string, ...lines: readonly string[]) => failures(lua, lines, "BEFORE_WRITE, BEFORE_DELETE")
  const given = 'given: BEFORE_WRITE k ü ttl 5 metadata {"a": 1}'

  it("stores what is given, or what it makes of that", () => {
    expect(asked("return nil", given, 'expect: store ü ttl 5 metadata {"a": 1}')).toEqual([])
    expect(asked("return event.value .. 'é'", given, 'expect: store üé ttl 5 metadata {"a": 1}')).toEqual([])
    const change = "return { value = 'é', ttl = 7, metadata = { b = 2 }, tags = { 'ä' } }"
    expect(asked(change, given, 'expect: store é ttl 7 metadata {"b": 2} tags ä')).toEqual([])
    expect(asked("return { cost = 3 }", given, "expect: store ü ttl 5 cost 3")).toEqual([])
    expect(asked("return { n = 1 }", given, 'expect: store {"n": 1}')).toEqual([])
    expect(asked("return nil", given, "expect: store other")).toEqual([
      ["store other", 'store ü ttl 5 metadata {"a":1}']
    ])
  })

  it("refuses with a reason", () => {
    expect(asked("cache.reject('not ' .. event.value)", given, "expect: reject not ü")).toEqual([])
    expect(asked("cache.reject('no')", given, "expect: store ü")).toEqual([
      ["ok", "reject no"],
      ["store ü", "reject no"]
    ])
    expect(asked("cache.reject('keep it')", "given: BEFORE_DELETE k v", "expect: reject keep it")).toEqual([])
  })

  it("stores nothing where something is deleted", () => {
    expect(asked("return nil", "given: BEFORE_DELETE k v", "expect: store v")).toEqual([
      ["store v", "BEFORE_DELETE stores nothing; BEFORE_WRITE does"]
    ])
  })
})
