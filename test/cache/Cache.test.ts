/** The doors of the cache over a keyspace whose time the tests hold. */
import { Cause as Causes, Context, Duration, Effect, Exit, Fiber, Layer, Option } from "effect"
import { describe, expect, it } from "vitest"
import {
  Cache,
  CacheClock,
  type CacheError,
  CacheFills,
  EntryTooLarge,
  Fills,
  type Input,
  InvalidTtl,
  InvalidValue,
  Keyspaces,
  type Loader,
  type LoadRequest,
  loaderOf,
  make,
  Reactions,
  Rejected,
  type SetOptions,
  TenantStore,
  Tenants,
  Wakeups
} from "../../src/cache/index.ts"
import {
  Cause,
  causeBit,
  type Gate,
  type KeyEvent,
  Keyspace,
  type Pattern,
  parsePattern
} from "../../src/kernel/index.ts"

const everything = Object.values(Cause).reduce<number>((mask, cause) => mask | causeBit(cause), 0)

const open = (limits: { maxEntries?: number; maxBytes?: number; gate?: Gate } = {}) => {
  const time = { nowMs: 1_000 }
  const events: string[] = []
  const keyspace = new Keyspace({
    maxEntries: 100,
    maxBytes: 1 << 20,
    ...limits,
    clock: { nowMs: () => time.nowMs },
    sink: { onEvent: ({ cause, key }: KeyEvent) => events.push(`${nameOf(cause)} ${key}`), onSettled() {} },
    wake() {}
  })
  keyspace.trie.add({ mask: everything, pattern: parsePattern("*") as Pattern, priority: 0 })
  const cache = make(keyspace, () => time.nowMs)
  return { cache, keyspace, time, events }
}

const nameOf = (cause: Cause): string =>
  (Object.entries(Cause).find(([, value]) => value === cause) as [string, Cause])[0]

const run = Effect.runSync
const failure = <E>(effect: Effect.Effect<unknown, E>): E =>
  Exit.match(Effect.runSyncExit(effect), {
    onSuccess: () => {
      throw new Error("it did not fail")
    },
    onFailure: (cause) => Option.getOrThrow(Causes.failureOption(cause))
  })

describe("unsafeBatch", () => {
  it("makes one change of many: events come when it returns, also when it throws, and it answers what its body does", () => {
    const { cache, events } = open()
    const seen = cache.unsafeBatch(() => {
      cache.unsafeSet("a", 1)
      cache.unsafeBatch(() => cache.unsafeSet("b", 2))
      return [events.length, cache.unsafeGet("a")]
    })
    expect([seen, events]).toEqual([
      [0, 1],
      ["write a", "write b", "read a"]
    ])
    expect(() =>
      cache.unsafeBatch(() => {
        cache.unsafeDelete("a")
        throw new Error("in the middle")
      })
    ).toThrow("in the middle")
    cache.unsafeSet("c", 3)
    expect(events.slice(3)).toEqual(["delete a", "write c"])
  })
})

describe("get, unsafeGet, peek and has", () => {
  it("find what is there, and nothing else", () => {
    const { cache } = open()
    run(cache.set("clé", { a: 1 }))
    expect(run(cache.get("clé"))).toEqual(Option.some({ a: 1 }))
    expect(cache.unsafeGet("clé")).toEqual({ a: 1 })
    expect(cache.peek("clé")).toMatchObject({ key: "clé", value: { a: 1 } })
    expect(run(cache.has("clé"))).toBe(true)
    expect(run(cache.get("none"))).toEqual(Option.none())
    expect(cache.unsafeGet("none")).toBeUndefined()
    expect(cache.peek("none")).toBeUndefined()
    expect(run(cache.has("none"))).toBe(false)
  })

  it("tell a stored null, false, 0 and empty text from a miss", () => {
    const { cache } = open()
    for (const value of [null, false, 0, ""]) {
      run(cache.set("k", value))
      expect(run(cache.get("k"))).toEqual(Option.some(value))
      expect(cache.unsafeGet("k")).toBe(value)
      expect(cache.peek("k")?.value).toBe(value)
      expect(run(cache.has("k"))).toBe(true)
    }
  })

  it("count as a read with its event only where law 4 says so: get and unsafeGet that hit", () => {
    const { cache, events, keyspace } = open()
    run(cache.set("k", "v", { ttl: 1_000 }))
    events.length = 0
    cache.peek("k")
    run(cache.has("k"))
    run(cache.ttl("k"))
    run(cache.keys())
    run(cache.stats)
    run(cache.get("none"))
    cache.unsafeGet("none")
    expect(events).toEqual([])
    expect(keyspace.stats).toMatchObject({ hits: 0, misses: 2 })
    run(cache.get("k"))
    cache.unsafeGet("k")
    expect(events).toEqual(["read k", "read k"])
    expect(keyspace.stats).toMatchObject({ hits: 2, misses: 2 })
  })

  it("count as use only where they read: peek, has and ttl do not save an entry from eviction", () => {
    const { cache } = open({ maxEntries: 2 })
    run(cache.set("a", 1))
    run(cache.set("b", 1))
    cache.peek("a")
    run(cache.has("a"))
    run(cache.ttl("a"))
    run(cache.set("c", 1))
    expect(run(cache.keys()).sort()).toEqual(["b", "c"])
    cache.unsafeGet("b")
    run(cache.set("d", 1))
    expect(run(cache.keys()).sort()).toEqual(["b", "d"])
  })

  it("do not find what is past its deadline; only a read expires it on the way", () => {
    const { cache, events, time, keyspace } = open()
    run(cache.set("k", "v", { ttl: 500 }))
    events.length = 0
    time.nowMs += 500
    expect(cache.peek("k")).toBeUndefined()
    expect(run(cache.has("k"))).toBe(false)
    expect(run(cache.ttl("k"))).toEqual(Option.none())
    expect(run(cache.keys())).toEqual([])
    expect([events, keyspace.size]).toEqual([[], 1])
    expect(cache.unsafeGet("k")).toBeUndefined()
    expect([events, keyspace.size]).toEqual([["expire k"], 0])
  })
})

describe("set", () => {
  it("keeps value, metadata, tags, cost and deadline, and replaces all of them", () => {
    const { cache } = open()
    const options: SetOptions = {
      ttl: "30 seconds",
      metadata: { owner: "é", at: 1n },
      tags: ["a", "é"],
      cost: 2.5,
      local: true
    }
    run(cache.set("k", "v", options))
    const first = cache.peek("k")
    expect(first).toMatchObject({
      key: "k",
      value: "v",
      metadata: { owner: "é", at: 1n },
      cost: 2.5,
      expiresAtMs: 31_000
    })
    run(cache.set("k", "w"))
    const second = cache.peek("k")
    expect(second).toMatchObject({ value: "w", metadata: null, tags: [], cost: 0 })
    expect(second).toHaveProperty("expiresAtMs", undefined)
    expect(first?.tags).toEqual(["a", "é"])
    expect(second?.version).toBeGreaterThan(first?.version as number)
  })

  it("marks an entry that stays on this instance", () => {
    const { cache, keyspace } = open()
    run(cache.set("k", "v", { local: true }))
    expect(keyspace.peek("k")?.isLocal).toBe(true)
    run(cache.set("k", "v"))
    expect(keyspace.peek("k")?.isLocal).toBe(false)
  })

  it("does not run before its Effect does", () => {
    const { cache } = open()
    const set = cache.set("k", "v")
    const clear = cache.clear
    expect(run(cache.has("k"))).toBe(false)
    run(set)
    expect(run(cache.has("k"))).toBe(true)
    run(clear)
    expect(run(cache.has("k"))).toBe(false)
  })

  it.each<[string, SetOptions["ttl"], number]>([
    ["milliseconds", 1_500, 2_500],
    ["a fraction of a millisecond, rounded up", 0.2, 1_001],
    ["words", "2 minutes", 121_000],
    ["a Duration", Duration.hours(1), 3_601_000],
    ["a Duration in nanoseconds", Duration.nanos(1n), 1_001],
    ["seconds and nanoseconds", [1, 500_000_000], 2_500]
  ])("takes a TTL in %s", (_form, ttl, expiresAtMs) => {
    const { cache } = open()
    expect(cache.unsafeSet("k", "v", { ttl: ttl as Duration.DurationInput })).toBeUndefined()
    expect(cache.peek("k")?.expiresAtMs).toBe(expiresAtMs)
  })

  it.each<[string, Duration.DurationInput]>([
    ["Duration.infinity", Duration.infinity],
    ["the number", Number.POSITIVE_INFINITY]
  ])("takes %s for no deadline", (_form, ttl) => {
    const { cache } = open()
    expect(cache.unsafeSet("k", "v", { ttl })).toBeUndefined()
    expect(cache.peek("k")).toHaveProperty("expiresAtMs", undefined)
    expect(run(cache.ttl("k"))).toEqual(Option.some(Duration.infinity))
  })

  it.each<[string, unknown]>([
    ["zero", 0],
    ["a negative number", -1],
    ["NaN", Number.NaN],
    ["a word that is no duration", "soon"],
    ["null", null],
    ["an object", {}]
  ])("refuses %s as a TTL, and the old entry stays", (_form, ttl) => {
    const { cache, events } = open()
    run(cache.set("k", "old"))
    events.length = 0
    const refused = failure(cache.set("k", "new", { ttl: ttl as number }))
    expect(refused).toBeInstanceOf(InvalidTtl)
    expect(refused.message).toContain(String(ttl))
    expect([cache.peek("k")?.value, events]).toEqual(["old", []])
  })

  it("refuses values and metadata that are no plain data, with their path, and the old entry stays", () => {
    const { cache } = open()
    run(cache.set("k", "old"))
    const value = failure(cache.set("k", { at: new Date(0) } as never))
    const metadata = failure(cache.set("k", "new", { metadata: { at: [() => 1] } as never }))
    const noObject = failure(cache.set("k", "new", { metadata: "text" as never }))
    expect([value, metadata, noObject]).toMatchObject([
      { _tag: "InvalidValue", path: "$.at" },
      { _tag: "InvalidValue", path: "metadata.at[0]" },
      { _tag: "InvalidValue", path: "metadata" }
    ])
    expect(value).toBeInstanceOf(InvalidValue)
    expect(cache.peek("k")?.value).toBe("old")
  })

  it("refuses an entry that alone exceeds the keyspace, by its key as text, and the old entry stays", () => {
    const { cache } = open({ maxBytes: 1_000 })
    run(cache.set("clé", "old"))
    const refused = failure(cache.set("clé", "x".repeat(1_000)))
    expect(refused).toBeInstanceOf(EntryTooLarge)
    expect(refused).toMatchObject({ key: "clé", maxBytes: 1_000 })
    expect(cache.peek("clé")?.value).toBe("old")
    const byMetadata = failure(cache.set("clé", "", { metadata: { note: "x".repeat(1_000) } }))
    expect(byMetadata).toBeInstanceOf(EntryTooLarge)
  })

  it("fails with the reason of the trigger that rejects it, and the old entry stays", () => {
    const { cache, events } = open({ gate: { beforeWrite: () => "trop tôt", beforeDelete: () => null } })
    const refused = failure(cache.set("clé", "new"))
    expect(refused).toBeInstanceOf(Rejected)
    expect(refused).toMatchObject({ _tag: "Rejected", key: "clé", reason: "trop tôt" })
    expect(refused.message).toBe("'clé' was rejected: trop tôt")
    expect(cache.unsafeSet("clé", "new")).toEqual(refused)
    expect([cache.peek("clé"), events, run(cache.stats).rejected]).toEqual([undefined, [], 2])
  })

  it("tells what is too large from what was rejected before", () => {
    let answer: string | null = "no"
    const { cache } = open({ maxBytes: 1_000, gate: { beforeWrite: () => answer, beforeDelete: () => null } })
    expect(cache.unsafeSet("k", "v")).toBeInstanceOf(Rejected)
    answer = null
    expect(cache.unsafeSet("k", "x".repeat(1_000))).toBeInstanceOf(EntryTooLarge)
    expect(cache.unsafeSet("k", "v")).toBeUndefined()
  })

  it("is the same as unsafeSet, which returns what set fails with", () => {
    for (const [value, options] of [
      ["v", undefined],
      ["v", { ttl: 0 }],
      [() => 1, undefined],
      ["x".repeat(2_000), undefined]
    ] as Array<[Input, SetOptions | undefined]>) {
      const [one, other] = [open({ maxBytes: 1_000 }), open({ maxBytes: 1_000 })]
      const exit = Effect.runSyncExit(one.cache.set("k", value, options))
      const returned: CacheError | undefined = other.cache.unsafeSet("k", value, options)
      expect(Exit.isSuccess(exit) ? undefined : failure(Effect.suspend(() => exit))._tag).toBe(returned?._tag)
      expect(one.events).toEqual(other.events)
    }
  })
})

describe("delete and clear", () => {
  it("say whether there was something", () => {
    const { cache, events } = open()
    run(cache.set("a", 1))
    run(cache.set("b", 1))
    events.length = 0
    expect([run(cache.delete("a")), run(cache.delete("a")), cache.unsafeDelete("b"), cache.unsafeDelete("b")]).toEqual([
      true,
      false,
      true,
      false
    ])
    expect(events).toEqual(["delete a", "delete b"])
  })

  it("fail with the reason of the trigger that rejects a delete; a clear is not asked for", () => {
    const { cache, events } = open({ gate: { beforeWrite: () => null, beforeDelete: () => "keep it" } })
    run(cache.set("k", 1))
    events.length = 0
    const refused = failure(cache.delete("k"))
    expect(refused).toMatchObject({ _tag: "Rejected", key: "k", reason: "keep it" })
    expect([cache.unsafeDelete("k"), cache.peek("k")?.value, events]).toEqual([false, 1, []])
    expect(run(cache.delete("none"))).toBe(false)
    expect(run(cache.clear)).toBe(1)
  })

  it("call an entry past its deadline expired, not deleted", () => {
    const { cache, events, time } = open()
    run(cache.set("k", 1, { ttl: 1 }))
    events.length = 0
    time.nowMs += 1
    expect(run(cache.delete("k"))).toBe(false)
    expect(events).toEqual(["expire k"])
  })

  it("count what was removed", () => {
    const { cache } = open()
    for (const key of ["a", "b", "c"]) run(cache.set(key, 1))
    expect([run(cache.clear), run(cache.clear), run(cache.keys())]).toEqual([3, 0, []])
  })
})

describe("ttl, expire and persist", () => {
  it("tell and change how long an entry lives, and fire no write", () => {
    const { cache, events, time } = open()
    run(cache.set("k", "v", { ttl: "10 seconds" }))
    events.length = 0
    time.nowMs += 4_000
    expect(run(cache.ttl("k"))).toEqual(Option.some(Duration.seconds(6)))
    expect(run(cache.expire("k", "1 minute"))).toBe(true)
    expect(run(cache.ttl("k"))).toEqual(Option.some(Duration.minutes(1)))
    expect(run(cache.persist("k"))).toBe(true)
    expect(run(cache.persist("k"))).toBe(false)
    expect(run(cache.ttl("k"))).toEqual(Option.some(Duration.infinity))
    expect(run(cache.expire("k", Duration.infinity))).toBe(true)
    expect(cache.peek("k")).toHaveProperty("expiresAtMs", undefined)
    expect(events.filter((event) => event.startsWith("write"))).toEqual([])
  })

  it("answer false or none where there is no entry", () => {
    const { cache } = open()
    expect(run(cache.ttl("none"))).toEqual(Option.none())
    expect([run(cache.expire("none", 1_000)), run(cache.persist("none"))]).toEqual([false, false])
  })

  it("expire the entry at once for zero or less, with cause expire", () => {
    for (const ttl of [0, -5, Number.NEGATIVE_INFINITY, "0 millis"] as const) {
      const { cache, events } = open()
      run(cache.set("k", "v"))
      events.length = 0
      expect(run(cache.expire("k", ttl as Duration.DurationInput))).toBe(true)
      expect(events).toEqual(["expire k"])
    }
  })

  it("refuse what is no duration, and the entry stays", () => {
    for (const ttl of [Number.NaN, "soon", null]) {
      const { cache } = open()
      run(cache.set("k", "v"))
      expect(failure(cache.expire("k", ttl as number))).toBeInstanceOf(InvalidTtl)
      expect(cache.peek("k")?.value).toBe("v")
    }
  })

  it("work for keys that are not ASCII", () => {
    const { cache } = open()
    run(cache.set("clé", "v", { ttl: 10 }))
    expect(run(cache.persist("clé"))).toBe(true)
    expect(run(cache.expire("clé", 10))).toBe(true)
  })
})

describe("keys and stats", () => {
  it("list keys by prefix, as text", () => {
    const { cache } = open()
    for (const key of ["a:1", "a:2", "é:1", "b"]) run(cache.set(key, 1))
    expect(run(cache.keys("a:")).sort()).toEqual(["a:1", "a:2"])
    expect(run(cache.keys("é"))).toEqual(["é:1"])
    expect(run(cache.keys())).toHaveLength(4)
    expect(run(cache.keys("none"))).toEqual([])
  })

  it("count what has happened", () => {
    const { cache, time } = open({ maxEntries: 2 })
    for (const key of ["a", "b", "c"]) run(cache.set(key, "v"))
    run(cache.get("b"))
    run(cache.get("a"))
    run(cache.delete("b"))
    run(cache.set("d", "v", { ttl: 1 }))
    time.nowMs += 1
    run(cache.get("d"))
    expect(run(cache.stats)).toMatchObject({
      entries: 1,
      hits: 1,
      misses: 2,
      writes: 4,
      deletes: 1,
      expires: 1,
      evictions: 1
    })
    expect(run(cache.stats).bytes).toBeGreaterThan(0)
    run(cache.clear)
    expect(run(cache.stats)).toMatchObject({ entries: 0, bytes: 0 })
  })
})

describe("loads", () => {
  class Origin extends Context.Tag("test/Origin")<Origin, { readonly read: (key: string) => string }>() {}

  it("getOrSet takes an Effect with what it needs, a promise or a value, and finds it afterwards", async () => {
    const { cache, events } = open()
    const origin = Layer.succeed(Origin, { read: (key) => `read ${key}` })
    const load = ({ key }: LoadRequest) => Effect.map(Origin, ({ read }) => read(key))
    const loaded = cache.getOrSet("k", load, { ttl: "1 minute" }).pipe(Effect.provide(origin))
    expect(await Effect.runPromise(loaded)).toEqual(Option.some("read k"))
    expect(cache.peek("k")).toMatchObject({ value: "read k", expiresAtMs: 61_000 })
    expect(run(loaded)).toEqual(Option.some("read k")) // at once
    expect(events).toEqual(["fill k", "read k"])
    expect(await Effect.runPromise(cache.getOrSet("l", () => Promise.resolve(7)))).toEqual(Option.some(7))
    expect(await Effect.runPromise(cache.getOrSet("m", () => null))).toEqual(Option.some(null))
    expect(await Effect.runPromise(cache.getOrSet("n", () => undefined))).toEqual(Option.none())
    expect(run(cache.stats)).toMatchObject({ hits: 1, misses: 4, writes: 0 })
  })

  it("getOrSet fails with what the Effect failed with, and interrupts it when nobody waits", async () => {
    const { cache } = open()
    const failed = Effect.runPromise(Effect.flip(cache.getOrSet("k", () => Effect.fail("no host" as const))))
    expect(await failed).toMatchObject({ _tag: "LoadFailed", key: "k", cause: "no host" })
    let wasInterrupted = false
    const endless = Effect.onInterrupt(Effect.never, () => Effect.sync(() => (wasInterrupted = true)))
    const waiting = Effect.runFork(cache.getOrSet("k", () => endless))
    await new Promise(setImmediate)
    await Effect.runPromise(Fiber.interrupt(waiting))
    expect(wasInterrupted).toBe(true)
  })

  it("getOrSet and loader refuse options that are none, and begin nothing", () => {
    const { cache } = open()
    const load = () => {
      throw new Error("it was begun")
    }
    expect(failure(cache.getOrSet("k", load, { ttl: 0 }))).toBeInstanceOf(InvalidTtl)
    expect(failure(cache.getOrSet("k", load, { metadata: { on: new Date() as unknown as Input } }))).toBeInstanceOf(
      InvalidValue
    )
    expect(failure(cache.getOrSet("k", load, { timeoutMs: 0 }))).toMatchObject({ _tag: "InvalidLoader" })
    expect(failure(Effect.scoped(cache.loader("[k", load)))).toMatchObject({ _tag: "InvalidLoader", field: "pattern" })
  })

  it("a loader fills what get misses, until its scope is closed; unsafeGet and peek see what is here alone", async () => {
    const { cache, events } = open()
    await Effect.gen(function* () {
      yield* cache.loader("user:*", ({ key }) => Effect.succeed(`loaded ${key}`), { tags: ["users"] })
      expect([cache.unsafeGet("user:1"), cache.peek("user:1")]).toEqual([undefined, undefined])
      expect(yield* cache.get("user:1")).toEqual(Option.some("loaded user:1"))
      expect(cache.peek("user:1")?.tags).toEqual(["users"])
      expect(yield* cache.get("page:1")).toEqual(Option.none())
      expect(yield* cache.warm(["user:1", "page:1"])).toMatchObject({ warmed: 1, withoutLoader: ["page:1"] })
    }).pipe(Effect.scoped, Effect.runPromise)
    expect(events).toEqual(["fill user:1", "invalidate user:1", "fill user:1"])
    expect(run(cache.get("user:2"))).toEqual(Option.none())
  })

  it("get is synchronous, and asks nobody, where nobody could fill the key", () => {
    const { keyspace, time } = open()
    const fills = new Fills({ nowMs: () => time.nowMs })
    const cache = make(keyspace, () => time.nowMs, fills)
    fills.bring = () => Promise.reject(new Error("it was asked"))
    expect(run(cache.get("k"))).toEqual(Option.none())
    fills.register(keyspace, "other", loaderOf(() => "v") as Loader)
    expect(run(cache.get("k"))).toEqual(Option.none())
    expect(run(cache.stats)).toMatchObject({ hits: 0, misses: 2 })
  })
})

describe("the cache of a tenant", () => {
  const ground = Layer.mergeAll(CacheClock.layer, Wakeups.layer, Reactions.layerNone, TenantStore.layerNone)
  const layer = Layer.mergeAll(Cache.layer, Tenants.layer()).pipe(
    Layer.provideMerge(Layer.mergeAll(Keyspaces.layer(), CacheFills.layer())),
    Layer.provideMerge(ground)
  )

  it("has its entries alone, under bare keys, and none once the tenant was removed", () =>
    Effect.gen(function* () {
      const [main, tenants] = [yield* Cache, yield* Tenants]
      const tenant = yield* tenants.create({ id: "acme" })
      const cache = main.of(tenant)
      expect(main.of(tenant)).toBe(cache)
      yield* main.set("k", "main")
      yield* cache.set("k", "acme", { ttl: "1 minute" })
      expect([main.unsafeGet("k"), cache.unsafeGet("k"), tenant.keyspace.get("k")]).toEqual(["main", "acme", "acme"])
      expect([yield* main.keys(), (yield* cache.stats).entries]).toEqual([["k"], 1])
      expect(Option.isSome(yield* cache.ttl("k"))).toBe(true)
      yield* tenants.remove("acme")
      expect([cache.unsafeGet("k"), yield* cache.keys(), main.unsafeGet("k")]).toEqual([undefined, [], "main"])
      expect(yield* Effect.flip(cache.set("k", "again"))).toBeInstanceOf(EntryTooLarge)
    }).pipe(Effect.provide(layer), Effect.runPromise))
})
