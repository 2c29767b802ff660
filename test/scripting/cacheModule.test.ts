/** What scripts do with `cache`: each function, what it answers, and what it refuses in which words. */
import { describe, expect, it } from "vitest"
import {
  Cause,
  causeBit,
  causeNames,
  entryBytes,
  type KeyEvent,
  type Keyspace,
  noMeta,
  PatternError,
  type PendingWrite,
  parsePattern,
  type Value
} from "../../src/kernel/index.ts"
import { makeModules, running } from "./hostModules.ts"

const watcher = (cause: Cause, source = "k") => {
  const pattern = parsePattern(source)
  if (pattern instanceof PatternError) throw pattern
  return { pattern, mask: causeBit(cause), priority: 0 }
}

describe("cache.get", () => {
  it("answers bytes, integers, floats, booleans and tables as they were put", () => {
    const { run, refusals } = makeModules()
    expect(
      run(`
        local values = { "bytes\\0\\255", "", 7, -0.0, 1.0, 0.5, math.maxinteger, math.mininteger, true, false }
        for i, value in ipairs(values) do
          assert(cache.put("k", value) == true)
          local read = cache.get("k")
          assert(read == value and math.type(read) == math.type(value), i)
        end
        cache.put("t", { list = { 1, 2.0, "three" }, [7] = "seven", deep = { deeper = { true } } })
        local t = cache.get("t")
        assert(math.type(t.list[1]) == "integer" and math.type(t.list[2]) == "float" and t.list[3] == "three")
        assert(t[7] == "seven" and t.deep.deeper[1] == true and 1 / cache.get("nothing", 1) == 1)
        return 1 / (cache.put("z", -0.0) and cache.get("z"))
      `)
    ).toBe(Number.NEGATIVE_INFINITY)
    expect(refusals).toEqual([])
  })

  it("answers nil for nobody, or the default, which may be anything, and is that very thing", () => {
    const { run } = makeModules()
    expect(
      run(`
        local own = {}
        return { cache.get("k") == nil, cache.get("k", "x"), cache.get("k", own) == own, cache.get("k", print) == print,
          cache.get("k", nil) == nil, select("#", cache.get("k", nil)) }
      `)
    ).toEqual([true, "x", true, true, true, 1])
  })

  it("answers a stored nil as nil, not as the default; has tells it from nobody", () => {
    const { run } = makeModules()
    expect(run('cache.put("k", nil) return { cache.get("k", 5) == nil, cache.has("k"), cache.has("other") }')).toEqual([
      true,
      true,
      false
    ])
  })

  it("is a client's read: it counts as a hit and as use, and finds nobody past the deadline", () => {
    const { run, keyspace, clock } = makeModules({ maxEntries: 2 })
    keyspace.set("a", "1")
    keyspace.set("b", "2", clock.ms + 10)
    expect(run('local v = cache.get("a") cache.put("c", "3") return v')).toBe("1")
    expect([keyspace.peek("a")?.value, keyspace.peek("b")]).toEqual(["1", undefined])
    expect(keyspace.stats.hits).toBe(1)
    keyspace.set("d", "4", clock.ms + 10)
    clock.ms += 10
    expect(run('return cache.get("d", "gone")')).toBe("gone")
    expect(keyspace.stats.expires).toBe(1)
  })

  it("shows null within what was stored as json.null, and stores it again", () => {
    const { run, keyspace } = makeModules()
    keyspace.set("k", Object.freeze({ a: null, list: Object.freeze([1, null]) }))
    expect(
      run(`
        local t = cache.get("k")
        t.b = 2
        cache.put("k", t)
        return { t.a == json.null, t.list[2] == json.null, type(json.null) }
      `)
    ).toEqual([true, true, "userdata"])
    expect(keyspace.peek("k")?.value).toEqual({ a: null, b: 2, list: [1, null] })
  })

  it("raises what is too large to cross, at the line that asked", () => {
    const { run, keyspace } = makeModules()
    keyspace.set("k", Object.freeze(new Array(10_001).fill(0)))
    expect(() => run('\ncache.get("k")')).toThrow("2: result has more than 10000 parts")
  })
})

describe("cache.put", () => {
  it("stores bytes as bytes, and structures frozen, and clears the TTL", () => {
    const { run, keyspace, clock } = makeModules()
    keyspace.set("k", "old", clock.ms + 1000)
    run('cache.put("k", "\\xe9") cache.put("t", { a = { 1 } })')
    expect(keyspace.peek("k")).toMatchObject({ value: "\xe9", expiresAtMs: 0 })
    const value = keyspace.peek("t")?.value as { a: number[] }
    expect([Object.isFrozen(value), Object.isFrozen(value.a)]).toEqual([true, true])
  })

  it.each([
    ["print", "argument 2 is a function"],
    ["{ on = print }", "argument 2.on is a function"],
    ["{ a = { b = { coroutine.create(print) } } }", "argument 2.a.b[1] is a coroutine"],
    ["(function() local t = {} t.own = t return t end)()", "argument 2.own contains itself"],
    ["(function() local t = {} for i = 1, 20 do t = { t } end return t end)()", "is nested deeper than 16"],
    ["(function() local t = {} for i = 1, 10001 do t[i] = i end return t end)()", "has more than 10000 parts"],
    ["{ [{}] = 1 }", "argument 2 has a table as a key"]
  ])("answers false for %s, changes nothing, and says why in the log", (value, why) => {
    const { run, keyspace, refusals } = makeModules()
    keyspace.set("k", "old")
    expect(run(`return cache.put("k", ${value})`)).toBe(false)
    expect(refusals).toEqual([expect.stringContaining(why)])
    expect(refusals[0]).toMatch(/^cache\.put: argument 2/)
    expect(keyspace.peek("k")?.value).toBe("old")
  })

  it("answers false for what alone exceeds the tenant's bytes", () => {
    const { run, refusals } = makeModules({ maxBytes: entryBytes + 100 })
    expect(run('return { cache.put("k", ("x"):rep(99)), cache.put("k", ("x"):rep(100)) }')).toEqual([true, false])
    expect(refusals).toEqual([
      `cache.put: the entry 'k' takes ${entryBytes + 101} bytes, more than the ${entryBytes + 100} that all entries may (maxBytes)`
    ])
  })

  it("answers false for what a gate refuses, in the gate's words", () => {
    const { run, keyspace, refusals } = makeModules({
      gate: { beforeWrite: () => "not on sundays", beforeDelete: () => "keep it" }
    })
    keyspace.set("k", "old")
    keyspace.trie.add(watcher(Cause.beforeWrite))
    keyspace.trie.add(watcher(Cause.beforeDelete))
    expect(
      run('return { cache.put("k", 1), cache.put_ttl("k", 1, 1), cache.incr("k") == nil, cache.delete("k") }')
    ).toEqual([false, false, true, false])
    expect(refusals).toEqual([
      "cache.put: rejected by a trigger: not on sundays",
      "cache.put_ttl: rejected by a trigger: not on sundays",
      "cache.incr: 'k' holds no integer",
      "cache.delete: rejected by a trigger: keep it"
    ])
  })

  it("takes a value: nothing is none", () => {
    const { run } = makeModules()
    expect(() => run('cache.put("k")')).toThrow("1: cache.put takes a key and a value; nil is one, nothing is none")
  })
})

describe("cache.put_ttl", () => {
  it("takes seconds with fractions", () => {
    const { run, keyspace, clock } = makeModules()
    expect(run('return cache.put_ttl("k", "v", 1.5)')).toBe(true)
    expect(keyspace.peek("k")?.expiresAtMs).toBe(clock.ms + 1500)
    run('cache.put_ttl("a", 1, 16.1) cache.put_ttl("b", 1, 1e-9) cache.put_ttl("c", 1, "2")')
    expect(["a", "b", "c"].map((key) => (keyspace.peek(key)?.expiresAtMs ?? 0) - clock.ms)).toEqual([16_100, 1, 2000])
    clock.ms += 1500
    expect(run('return cache.get("k") == nil')).toBe(true)
  })

  it.each(["0", "-1", "0/0", "math.huge", "1e13"])("answers false for %s seconds, and changes nothing", (seconds) => {
    const { run, keyspace, refusals } = makeModules()
    keyspace.set("k", "old")
    expect(run(`return cache.put_ttl("k", "v", ${seconds})`)).toBe(false)
    expect(refusals).toEqual([
      expect.stringMatching(/^cache\.put_ttl: a TTL is a number of seconds above 0, up to 1000000000000; this one is /)
    ])
    expect(keyspace.peek("k")?.value).toBe("old")
  })

  it("raises what is no number", () => {
    const { run } = makeModules()
    expect(() => run('cache.put_ttl("k", "v")')).toThrow(
      "cache.put_ttl: argument 3 is a number of seconds, not nothing"
    )
    expect(() => run('cache.put_ttl("k", "v", {})')).toThrow("argument 3 is a number of seconds, not a table")
  })
})

describe("cache.delete", () => {
  it("answers whether it was there", () => {
    const { run, refusals, keyspace } = makeModules()
    expect(run('cache.put("k", nil) return { cache.delete("k"), cache.delete("k") }')).toEqual([true, false])
    expect([refusals, keyspace.size]).toEqual([[], 0])
  })
})

describe("cache.incr", () => {
  it("counts from nothing, by one or by what is said, down as well", () => {
    const { run } = makeModules()
    expect(
      run(`
        local t = { cache.incr("n"), cache.incr("n"), cache.incr("n", 40), cache.incr("n", -2), cache.incr("n", 1.0) }
        t[6] = cache.get("n")
        for i = 1, 6 do assert(math.type(t[i]) == "integer") end
        return t
      `)
    ).toEqual([1, 2, 42, 40, 41, 41])
  })

  it("keeps the kind: decimal bytes stay bytes, an integer stays one", () => {
    const { run, keyspace } = makeModules()
    keyspace.set("bytes", "41")
    keyspace.set("integer", 41)
    expect(run('return { cache.incr("bytes"), cache.incr("integer"), type(cache.get("bytes")) }')).toEqual([
      42,
      42,
      "string"
    ])
    expect([keyspace.peek("bytes")?.value, keyspace.peek("integer")?.value]).toEqual(["42", 42])
  })

  it("sets the TTL only when the key is made by it, and keeps metadata, tags and an existing TTL", () => {
    const { run, keyspace, clock } = makeModules()
    const meta = Object.freeze({ metadata: null, tags: Object.freeze(["t"]), cost: 3 })
    keyspace.set("old", 1, clock.ms + 500, meta)
    keyspace.set("forever", 1)
    run('cache.incr("old", 1, 60) cache.incr("forever", 1, 60) cache.incr("new", 1, 60) cache.incr("new", 1, 90)')
    expect(keyspace.peek("old")).toMatchObject({ value: 2, expiresAtMs: clock.ms + 500, meta })
    expect(keyspace.peek("forever")?.expiresAtMs).toBe(0)
    expect(keyspace.peek("new")).toMatchObject({ value: 2, expiresAtMs: clock.ms + 60_000, meta: noMeta })
    clock.ms += 60_000
    expect(run('return cache.incr("new", 1, 60)')).toBe(1)
  })

  it("is exact to the ends of 64 bits, and no further", () => {
    const { run, refusals } = makeModules()
    expect(
      run(`
        cache.put("n", math.maxinteger - 2)
        assert(cache.incr("n") == math.maxinteger - 1)
        assert(cache.incr("n", 1) == math.maxinteger)
        assert(cache.incr("n") == nil and cache.get("n") == math.maxinteger)
        assert(cache.incr("n", math.mininteger) == -1)
        return cache.incr("m", math.mininteger) == math.mininteger
      `)
    ).toBe(true)
    expect(refusals).toEqual(["cache.incr: 'n' would exceed 64 bits"])
  })

  it.each([
    ['cache.put("k", "no")', "", "'k' holds no integer"],
    ['cache.put("k", 1.0)', "", "'k' holds no integer"],
    ['cache.put("k", { 1 })', "", "'k' holds no integer"],
    ['cache.put("k", nil)', "", "'k' holds no integer"],
    ["cache.put('k', math.maxinteger)", ", 1", "'k' would exceed 64 bits"]
  ])("after %s answers nil for 'k'%s, and says why", (before, rest, why) => {
    const { run, refusals, keyspace } = makeModules()
    run(before)
    const old = keyspace.peek("k")?.value
    expect(run(`return cache.incr("k"${rest}) == nil`)).toBe(true)
    expect(refusals).toEqual([`cache.incr: ${why}`])
    expect(keyspace.peek("k")?.value).toEqual(old)
  })

  it.each([
    ["{}", "a table"],
    ["0.5", "0.5"],
    ["2^63", "9.2233720368548e+18"],
    ["0/0", "-nan"],
    ["'one'", "a string"]
  ])("raises the step %s: it adds an integer", (step, shown) => {
    const { run, keyspace, refusals } = makeModules()
    expect(() => run(`\ncache.incr("k", ${step})`)).toThrow(
      `2: cache.incr: argument 2 is the integer to add, not ${shown}`
    )
    expect([keyspace.size, refusals]).toEqual([0, []])
  })

  it.each(["0", "-1", "0/0", "1e13"])("raises the TTL %s, also where the key keeps its own", (seconds) => {
    const { run, keyspace, refusals } = makeModules()
    for (const key of ["k", "k2"]) {
      expect(() => run(`\ncache.incr("${key}", 1, ${seconds})`)).toThrow(
        "2: cache.incr: a TTL is a number of seconds above 0, up to 1000000000000; this one is "
      )
      keyspace.set("k2", 5)
    }
    expect([keyspace.peek("k"), keyspace.peek("k2")?.value, refusals]).toEqual([undefined, 5, []])
  })

  it("answers what a gate made of it, and nil where that is no integer", () => {
    let made: Value = 10
    const { run, keyspace, refusals } = makeModules({
      gate: {
        beforeWrite: (write: PendingWrite) => {
          write.value = made
          return null
        },
        beforeDelete: () => null
      }
    })
    keyspace.trie.add(watcher(Cause.beforeWrite))
    expect(run('return cache.incr("k")')).toBe(10)
    made = "eleven"
    expect(run('return cache.incr("k") == nil')).toBe(true)
    expect(refusals).toEqual(["cache.incr: a trigger has made of 'k' what is no integer"])
    expect(keyspace.peek("k")?.value).toBe("eleven")
  })

  it("answers nil for what a gate refuses, though its events let others write meanwhile", () => {
    const { run, keyspace, refusals } = makeModules({ gate: { beforeWrite: () => "full", beforeDelete: () => null } })
    keyspace.trie.add(watcher(Cause.beforeWrite))
    expect(run('return cache.incr("k") == nil')).toBe(true)
    expect([refusals, keyspace.size]).toEqual([["cache.incr: rejected by a trigger: full"], 0])
  })
})

describe("cache.touch and cache.ttl", () => {
  it("touch counts as use, and no more: no hit, no event", () => {
    const { run, keyspace } = makeModules({ maxEntries: 2 })
    keyspace.set("a", "1")
    keyspace.set("b", "2")
    expect(run('return { cache.touch("a"), cache.touch("nobody") }')).toEqual([true, false])
    keyspace.set("c", "3")
    expect([keyspace.peek("a")?.value, keyspace.peek("b"), keyspace.stats.hits]).toEqual(["1", undefined, 0])
  })

  it("touch with seconds gives a new deadline, also to what had none", () => {
    const { run, keyspace, clock } = makeModules()
    keyspace.set("k", "v")
    expect(run('return { cache.touch("k", 2.5), cache.ttl("k"), cache.touch("nobody", 1) }')).toEqual([
      true,
      2.5,
      false
    ])
    clock.ms += 2000
    expect(run('return cache.ttl("k")')).toBe(0.5)
    expect(run('return math.type(cache.ttl("k"))')).toBe("float")
  })

  it("touch answers false for a TTL that is none, and leaves the entry as it is", () => {
    const { run, keyspace, refusals } = makeModules()
    keyspace.set("k", "v")
    expect(run('return { cache.touch("k", 0), cache.touch("k", -1), cache.touch("k", 0/0) }')).toEqual([
      false,
      false,
      false
    ])
    expect([keyspace.peek("k")?.expiresAtMs, refusals.length]).toEqual([0, 3])
  })

  it("ttl is nil where there is no entry, no deadline, or none any more", () => {
    const { run, keyspace, clock } = makeModules()
    keyspace.set("forever", "v")
    keyspace.set("gone", "v", clock.ms + 10)
    clock.ms += 10
    expect(run('return { cache.ttl("nobody") == nil, cache.ttl("forever") == nil, cache.ttl("gone") == nil }')).toEqual(
      [true, true, true]
    )
  })
})

describe("a key", () => {
  const functions = ["get", "put", "put_ttl", "delete", "has", "incr", "touch", "ttl"]

  it.each(functions)("of cache.%s is a string, or an error that names what it is", (name) => {
    const { run } = makeModules()
    for (const [given, kind] of [
      ["", "nothing"],
      ["nil", "nil"],
      ["{}", "a table"],
      ["true", "a boolean"],
      ["print", "a function"]
    ]) {
      expect(() => run(`\n cache.${name}(${given})`)).toThrow(
        `2: cache.${name} takes a key (a string) first, not ${kind}`
      )
    }
  })

  it.each(functions)("of cache.%s has at most 64 KiB", (name) => {
    const { run } = makeModules()
    const others = { get: "", put: ", 1", put_ttl: ", 1, 1", delete: "", has: "", incr: "", touch: "", ttl: "" }[name]
    expect(() => run(`cache.${name}(("k"):rep(65537)${others})`)).toThrow(
      `cache.${name}: a key has at most 65536 bytes, this one has 65537`
    )
    expect(() => run(`cache.${name}(("k"):rep(65536)${others})`)).not.toThrow()
  })

  it("may be a number, and is what .. would make of it", () => {
    const { run, keyspace } = makeModules()
    run("cache.put(1, 'integer') cache.put(1.0, 'float') cache.put(2^53, 'large')")
    expect(["1", "1.0", "9.007199254741e+15"].map((key) => keyspace.peek(key)?.value)).toEqual([
      "integer",
      "float",
      "large"
    ])
    expect(run('return { cache.get(1 .. ""), cache.get(1.0 .. ""), #cache.keys(1) }')).toEqual(["integer", "float", 2])
  })
})

describe("an argument too many", () => {
  it.each([
    ['get("k", 1, 2)', "cache.get takes a key and a default, not 3 arguments"],
    [
      'put("k", 1, 60)',
      "cache.put takes a key and a value, not 3 arguments; cache.put_ttl(key, value, seconds) gives it a time to live"
    ],
    ['put_ttl("k", 1, 60, true)', "cache.put_ttl takes a key, a value and a number of seconds, not 4 arguments"],
    ['delete("k", "l")', "cache.delete takes a key, not 2 arguments"],
    ['has("k", "l")', "cache.has takes a key, not 2 arguments"],
    ['incr("k", 1, 60, 2)', "cache.incr takes a key, the integer to add and a number of seconds, not 4 arguments"],
    ['touch("k", 1, nil)', "cache.touch takes a key and a number of seconds, not 3 arguments"],
    ['ttl("k", 1)', "cache.ttl takes a key, not 2 arguments"],
    ['keys("k", 1, 2)', "cache.keys takes a prefix and a limit, not 3 arguments"]
  ])("is an error at its line, and nothing is done: cache.%s", (call, message) => {
    const { run, keyspace, refusals } = makeModules()
    keyspace.set("k", "old")
    expect(() => run(`\ncache.${call}`)).toThrow(`2: ${message}`)
    expect(keyspace.peek("k")).toMatchObject({ value: "old", expiresAtMs: 0 })
    expect([keyspace.size, refusals]).toEqual([1, []])
  })
})

describe("a name that cache does not have", () => {
  it("is nil, so that a script may ask for it, and cannot be called", () => {
    const { run } = makeModules()
    expect(run("return { cache.set == nil, cache.get ~= nil }")).toEqual([true, true])
    expect(() => run('\ncache.set("k", 1)')).toThrow("2: attempt to call a nil value (field 'set')")
  })
})

describe("a run without a cache", () => {
  it("is told so by every function, at the line that called", () => {
    const { run, current, clock, refusals } = makeModules()
    current.run = running(null, clock, refusals)
    for (const name of ["get", "put", "put_ttl", "delete", "has", "incr", "touch", "ttl", "keys"]) {
      expect(() => run(`\n\ncache.${name}("k", 1, 1)`)).toThrow("3: this run has no cache: give it a cachePrefix")
    }
  })
})

describe("what a call does to the cache", () => {
  it("is a client's operation: each fires its own event, as it happens", () => {
    const seen: string[] = []
    const { run, keyspace } = makeModules({
      sink: {
        onEvent: (event: KeyEvent) => void seen.push(`${causeNames[event.cause]} ${event.key}`),
        onSettled: () => void seen.push("settled")
      }
    })
    for (const cause of [Cause.write, Cause.read, Cause.delete, Cause.touch]) keyspace.trie.add(watcher(cause, "*"))
    run(`
      cache.put("a", 1) cache.get("a") cache.get("nobody") cache.has("a") cache.ttl("a") cache.touch("a") cache.keys("")
      cache.touch("a", 1) cache.incr("a") cache.delete("a")
    `)
    expect(seen.filter((entry) => entry !== "settled")).toEqual(["write a", "read a", "touch a", "write a", "delete a"])
    expect(seen.filter((entry) => entry === "settled")).toHaveLength(5)
  })

  it("stays when the run fails later", () => {
    const { run, keyspace } = makeModules()
    expect(() => run('cache.put("k", 1) error("no", 0)')).toThrow("no")
    expect(keyspace.peek("k")?.value).toBe(1)
  })

  it("does not happen where the run cannot pay for it", () => {
    const { run, keyspace } = makeModules()
    const source = 'local t = {} for i = 1, 1000 do t[i] = "x" .. i end cache.put("k", t)'
    expect(() => run(source, { fuelMax: 20_000 })).toThrow("stopped after 20000 units of fuel")
    expect(keyspace.size).toBe(0)
  })

  it("costs the run what the triggers compute that it sets off", () => {
    const modules = makeModules({
      sink: {
        onEvent: () => {},
        onSettled: (keyspace: Keyspace) => {
          keyspace.reactionWork += 100_000
        }
      }
    })
    const { run, keyspace, fuel } = modules
    const calls = 'cache.put("k", 1) cache.get("k") cache.incr("k") cache.touch("k", 1) cache.delete("k")'
    run(calls)
    expect(fuel()).toBeLessThan(10_000)
    for (const cause of [Cause.write, Cause.read, Cause.touch, Cause.delete]) keyspace.trie.add(watcher(cause))
    run(calls)
    expect(fuel()).toBeGreaterThan(500_000)
    expect(() => run(`while true do ${calls} end`, { fuelMax: 1_000_000 })).toThrow("stopped after 1000000 units")
    expect(keyspace.stats.writes).toBeLessThan(12)
  })
})
