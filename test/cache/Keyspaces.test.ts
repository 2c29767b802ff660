import { Effect, Layer } from "effect"
import { describe, expect, it } from "vitest"
import { CacheClock, Keyspaces, Reactions, Replication, Wakeup, Wakeups } from "../../src/cache/index.ts"
import { Freshness, KeyHash, type Keyspace, type Replica } from "../../src/kernel/index.ts"

const ground = Layer.mergeAll(CacheClock.layer, Reactions.layerNone, Wakeups.layer)

const opened = (...given: Parameters<typeof Keyspaces.layer>) =>
  Effect.runSync(
    Effect.all([Keyspaces, Wakeups]).pipe(Effect.provide(Layer.provideMerge(Keyspaces.layer(...given), ground)))
  )

describe("the limits of a keyspace", () => {
  it("are the defaults where none are given", () => {
    const [{ main }] = opened()
    expect([main.maxEntries, main.maxBytes]).toEqual([50_000, 512 * 1024 * 1024])
    const [{ main: smaller }] = opened({ maxEntries: 10 })
    expect([smaller.maxEntries, smaller.maxBytes]).toEqual([10, 512 * 1024 * 1024])
  })

  it.each([{ maxEntries: 0 }, { maxEntries: -1 }, { maxEntries: Number.NaN }, { maxBytes: Number.NaN }])(
    "cannot be %o, which would be none",
    (limits) => {
      expect(() => opened(limits)).toThrow(`${Object.keys(limits)[0]} is a number from 1`)
    }
  )
})

describe("the event log of a keyspace", () => {
  it("keeps as many events as it is told, and none where nothing is said", () => {
    const [[{ main }], [{ main: silent }]] = [opened({}, 2), opened()]
    for (const key of ["a", "b", "c"]) for (const each of [main, silent]) each.set(key, "v")
    expect([main.log.recent().map(({ key }) => key), silent.log.recent(), silent.log.capacity]).toEqual([
      ["b", "c"],
      [],
      0
    ])
  })

  it.each([-1, 1.5, Number.NaN, 100_001])("cannot have %d events", (eventLog) => {
    expect(() => opened({}, eventLog)).toThrow(`eventLog is a whole number from 0 to 100000; not ${eventLog}`)
  })
})

describe("the keyspaces", () => {
  it("are the main one and those that were opened, in their order, until they are closed", () => {
    const [{ main, all, open, close }] = opened()
    const [a, b] = [open({ maxEntries: 5, maxBytes: 5_000 }), open({ maxEntries: 6, maxBytes: 6_000 })]
    expect([...all()]).toEqual([main, a, b])
    expect([a.maxEntries, a.maxBytes]).toEqual([5, 5_000])
    close(a)
    close(a)
    expect([...all()]).toEqual([main, b])
  })

  it("never close the main one", () => {
    const [{ main, all, close }] = opened()
    main.set("k", "v")
    close(main)
    expect([[...all()], main.peek("k")?.value]).toEqual([[main], "v"])
  })

  it("forget a closed one: its deadlines wake nobody, its bytes count no more", () => {
    const [{ main, shared, open, close, nextWakeMs }] = opened()
    const keyspace = open({ maxEntries: 5, maxBytes: 5_000 })
    keyspace.set("k", "v", Date.now() + 1_000)
    main.set("k", "v")
    expect([nextWakeMs() < Number.POSITIVE_INFINITY, shared.pool.bytes]).toEqual([true, keyspace.bytes])
    close(keyspace)
    expect([nextWakeMs(), shared.pool.bytes, keyspace.set("k", "v")]).toEqual([Number.POSITIVE_INFINITY, 0, false])
  })

  it("share the room that is for all but the main one", () => {
    const [{ main, open, shared, advance }] = opened({}, 0, 10_000)
    const [a, b] = [open({ maxEntries: 100, maxBytes: 50_000 }), open({ maxEntries: 100, maxBytes: 50_000 })]
    for (let n = 0; n < 50; n++) {
      main.set(`k${n}`, "v")
      a.set(`k${n}`, "v")
    }
    b.set("k", "v")
    expect([advance(Date.now(), () => false), main.size, b.size]).toEqual([true, 50, 1])
    expect(shared.pool.bytes).toBeLessThanOrEqual(10_000)
    expect(a.size).toBeGreaterThan(25)
  })

  it.each([0, Number.NaN])("cannot share %d bytes", (bytes) => {
    expect(() => opened({}, 0, bytes)).toThrow(`tenantBytesMax is a number from 1; not ${bytes}`)
  })

  it("leave word when something expires earlier than they said before", () => {
    const [{ main }, wakeup] = opened()
    const words: number[] = []
    wakeup.listen((atMs) => words.push(atMs))
    const inAMinute = Date.now() + 60_000
    main.set("later", "v", inAMinute)
    main.set("latest", "v", inAMinute + 3_600_000)
    expect(words).toHaveLength(1)
    main.set("sooner", "v", inAMinute - 50_000)
    expect(words).toHaveLength(2)
    expect(words[1]).toBeLessThanOrEqual(inAMinute - 50_000)
  })
})

describe("a place to leave word", () => {
  it("is deaf while nobody listens", () => {
    expect(() => new Wakeup().at(1)).not.toThrow()
  })

  it("tells whoever listened last", () => {
    const wakeup = new Wakeup()
    const heard: string[] = []
    wakeup.listen((atMs) => heard.push(`first ${atMs}`))
    wakeup.at(1)
    const stop = wakeup.listen((atMs) => heard.push(`second ${atMs}`))
    wakeup.at(2)
    stop()
    wakeup.at(3)
    expect(heard).toEqual(["first 1", "second 2"])
  })

  it("keeps its listener when the one before it stops late", () => {
    const wakeup = new Wakeup()
    const heard: number[] = []
    const stopFirst = wakeup.listen(() => {})
    wakeup.listen((atMs) => heard.push(atMs))
    stopFirst()
    wakeup.at(1)
    expect(heard).toEqual([1])
  })
})

describe("the replication of keyspaces", () => {
  const limits = { maxEntries: 10, maxBytes: 100_000 }

  it("is told of the main one, of each that is opened with a head, and of their ends, and hears what they do", () => {
    const told: string[] = []
    const freshness = new Freshness()
    const heads = new Map<Keyspace, string>()
    const replica: Partial<Replica> = {
      onWrite: (entry, keyspace) => void told.push(`wrote ${heads.get(keyspace)}${entry.key}`),
      onTag: (hash, keyspace) => void told.push(`tag ${hash === hashOf(heads.get(keyspace) as string).ofTag("red")}`)
    }
    const hashOf = (head: string) => new KeyHash("secret", head)
    const replication = Layer.succeed(Replication, {
      ...{ replica: replica as Replica, freshness, hashOf },
      onOpen: (keyspace, head) => {
        heads.set(keyspace, head)
        told.push(`open '${head}' ${keyspace.size}`)
      },
      onClose: (keyspace) => void told.push(`close '${heads.get(keyspace)}' ${keyspace.size}`)
    })
    const keyspaces = Effect.runSync(
      Effect.provide(Keyspaces, Layer.provide(Keyspaces.layer(), Layer.merge(ground, replication)))
    )
    const tenant = keyspaces.open(limits, "t:")
    const unshared = keyspaces.open(limits)
    for (const keyspace of keyspaces.all()) keyspace.set("k", "v")
    tenant.invalidateTags(["red"])
    for (const keyspace of [tenant, tenant, unshared]) keyspaces.close(keyspace)
    expect(told).toEqual([...["open '' 0", "open 't:' 0", "wrote k", "wrote t:k", "tag true"], "close 't:' 1"])
    keyspaces.main.set("a:1", "v")
    freshness.invalidatePrefix(hashOf("").ofPrefix("a:"))
    expect(keyspaces.main.peek("a:1")).toBe(undefined)
  })

  it("lets no tenant make entries of others stale, however much it invalidates (law 14)", () => {
    const hashOf = (head: string) => new KeyHash("secret", head) // two heads in 2,048 are one owner: not these
    const replication = { replica: null, freshness: new Freshness(), hashOf, onOpen() {}, onClose() {} }
    const keyspaces = Effect.runSync(
      Effect.provide(
        Keyspaces,
        Layer.provide(Keyspaces.layer(), Layer.merge(ground, Layer.succeed(Replication, replication)))
      )
    )
    const [flooding, other] = [keyspaces.open(limits, "tenant_123:"), keyspaces.open(limits, "tenant_456:")]
    const meta = { metadata: null, tags: ["red"], cost: 0 }
    const all = [keyspaces.main, flooding, other]
    const held = () => all.map((keyspace) => keyspace.get("page:1"))
    for (const invalidate of [
      (i: number) => flooding.invalidateTags([`tag${i}`]),
      (i: number) => flooding.invalidatePrefix(`p${i}:`)
    ]) {
      for (const keyspace of all) keyspace.set("page:1", "v", 0, meta)
      for (let i = 0; i < 70_000; i++) invalidate(i)
      expect(held()).toEqual(["v", undefined, "v"])
    }
    keyspaces.advance(Date.now() + 1_000, () => false)
    expect(all.map(({ size }) => size)).toEqual([1, 0, 1])
    other.invalidateTags(["red"])
    keyspaces.main.invalidatePrefix("page:")
    expect(held()).toEqual([undefined, undefined, undefined])
  })

  it("is none where nobody gives one: tags and prefixes work within the process, and apart in two of them", () => {
    const [[one], [other]] = [opened(), opened()]
    const tenant = one.open(limits, "t:")
    for (const keyspace of [one.main, other.main, tenant]) keyspace.set("a:1", "v")
    one.main.invalidatePrefix("a:")
    expect([one.main, other.main, tenant].map((keyspace) => keyspace.peek("a:1")?.value)).toEqual([undefined, "v", "v"])
    one.main.invalidatePrefix("t:")
    expect(tenant.peek("a:1")).toBe(undefined)
    expect(one.advance(Date.now() + 1_000, () => false)).toBe(true)
    expect([one.main.size, tenant.size]).toEqual([0, 0])
  })
})
