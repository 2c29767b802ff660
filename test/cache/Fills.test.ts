/** How keys that are not here come to be, over a keyspace, loads, peers and a clock that the tests hold. */
import { describe, expect, it } from "vitest"
import {
  type FillLimits,
  Fills,
  type Input,
  InvalidLoader,
  type Load,
  type Loader,
  LoadFailed,
  type LoadOptions,
  LoadTimedOut,
  loaderOf,
  type Peers,
  type Tier,
  TooManyLoads
} from "../../src/cache/index.ts"
import {
  Cause,
  causeBit,
  causeNames,
  EntrySource,
  type KeyEvent,
  Keyspace,
  noMeta,
  type Pattern,
  parsePattern
} from "../../src/kernel/index.ts"

/** A load whose end the test decides. */
interface Held {
  readonly key: string
  readonly signal: AbortSignal
  readonly give: (value: Input | undefined) => void
  readonly break: (error: unknown) => void
}

const open = ({ tier, limits }: { tier?: Tier; limits?: Partial<FillLimits> } = {}) => {
  const time = { nowMs: 1_000 }
  const events: string[] = []
  const timers = new Map<() => void, number>()
  const openKeyspace = () => {
    const keyspace = new Keyspace({
      maxEntries: 100,
      maxBytes: 1 << 16,
      clock: { nowMs: () => time.nowMs },
      sink: { onEvent: ({ cause, key }: KeyEvent) => events.push(`${causeNames[cause]} ${key}`), onSettled() {} },
      wake() {}
    })
    keyspace.trie.add({ mask: everything, pattern: parsePattern("*") as Pattern, priority: 0 })
    return keyspace
  }
  const fills = new Fills({
    nowMs: () => time.nowMs,
    ...(tier === undefined ? {} : { tier }),
    ...(limits === undefined ? {} : { limits }),
    after: (ms, action) => {
      timers.set(action, time.nowMs + ms)
      return () => timers.delete(action)
    }
  })
  const advance = (ms: number): void => {
    time.nowMs += ms
    for (const [action, atMs] of [...timers]) {
      if (atMs > time.nowMs) continue
      timers.delete(action)
      action()
    }
  }
  const held: Held[] = []
  const load: Load = ({ key, signal }) =>
    new Promise((give, fail) => held.push({ key, signal, give, break: fail as Held["break"] }))
  return { keyspace: openKeyspace(), openKeyspace, fills, time, timers, events, advance, held, load }
}

const everything = Object.values(Cause).reduce<number>((mask, cause) => mask | causeBit(cause), 0)

const loader = (load: Load, options?: LoadOptions): Loader => {
  const made = loaderOf(load, options)
  if ("load" in made) return made
  throw made
}

/** What promises have come to, once everything that can happen now has happened. */
const settled = async (...promises: ReadonlyArray<Promise<unknown>>): Promise<unknown[]> => {
  const answers: unknown[] = promises.map(() => "pending")
  promises.forEach((promise, i) => {
    const note = (answer: unknown) => {
      answers[i] = answer
    }
    promise.then(note, note)
  })
  await new Promise(setImmediate)
  return answers
}

const turns = () => settled()

describe("a load", () => {
  it("is made once for all who ask, and what it answered is found afterwards", async () => {
    const { keyspace, fills, held, load, events } = open()
    const [a, b] = [fills.load(keyspace, "k", loader(load)), fills.load(keyspace, "k", loader(load))]
    expect([held.length, fills.size, fills.waiters]).toEqual([1, 1, 2])
    held[0]?.give("v")
    expect(await Promise.all([a, b])).toEqual(["v", "v"])
    expect(keyspace.get("k")).toBe("v")
    expect(events).toEqual(["fill k", "read k"]) // no write, and no read for those who missed
    expect(keyspace.stats).toMatchObject({ hits: 1, misses: 0, writes: 0 })
    expect(fills.stats).toMatchObject({ loads: 1, joined: 1, notStored: 0 })
    expect([fills.size, fills.waiters]).toEqual([0, 0])
  })

  it("is one a keyspace and key", () => {
    const { keyspace, openKeyspace, fills, held, load } = open()
    void fills.load(keyspace, "a", loader(load))
    void fills.load(keyspace, "b", loader(load))
    void fills.load(openKeyspace(), "a", loader(load))
    expect(held.map(({ key }) => key)).toEqual(["a", "b", "a"])
  })

  it("is told its key as text, and stores the value with what its options say", async () => {
    const { keyspace, fills, time } = open()
    const keys: string[] = []
    const options = { ttl: "1 minute", tags: ["t"], metadata: { by: "us" }, cost: 3 } as const
    await fills.load(
      keyspace,
      Buffer.from("prix:€").toString("latin1"),
      loader(({ key }) => {
        keys.push(key)
        time.nowMs += 500 // its life begins when it is there
        return { amount: 1 }
      }, options)
    )
    expect(keys).toEqual(["prix:€"])
    const entry = keyspace.peek(Buffer.from("prix:€").toString("latin1"))
    expect(entry).toMatchObject({ value: { amount: 1 }, expiresAtMs: 61_500, source: EntrySource.loaded })
    expect(entry?.meta).toMatchObject({ metadata: { by: "us" }, tags: ["t"], cost: 3 })
    expect(entry?.isLocal).toBe(false)
  })

  it("that answers undefined has found nothing, which is not kept; null is a value", async () => {
    const { keyspace, fills } = open()
    const answers: Array<null | undefined> = [undefined, null]
    const next = loader(() => answers.shift())
    expect(await fills.load(keyspace, "k", next)).toBe(undefined)
    expect(keyspace.size).toBe(0)
    expect(await fills.load(keyspace, "k", next)).toBe(null)
    expect(keyspace.peek("k")?.value).toBe(null)
  })

  it("that fails tells all who wait, and is tried again by the next", async () => {
    const { keyspace, fills, held, load } = open()
    const waiting = [fills.load(keyspace, "k", loader(load)), fills.load(keyspace, "k", loader(load))]
    const cause = new Error("no such host")
    held[0]?.break(cause)
    const [a, b] = await settled(...waiting)
    expect(a).toBeInstanceOf(LoadFailed)
    expect(b).toBe(a)
    expect(a).toMatchObject({ key: "k", cause, message: "the load of 'k' has failed: no such host" })
    expect(keyspace.size).toBe(0)
    const again = fills.load(keyspace, "k", loader(load))
    held[1]?.give("v")
    expect(await again).toBe("v")
    expect(fills.stats).toMatchObject({ loads: 2, loadFailures: 1 })
  })

  it("that throws at once, or answers what is no value, has failed like any other", async () => {
    const { keyspace, fills } = open()
    const thrown = fills.load(
      keyspace,
      "k",
      loader(() => {
        throw new Error("at once")
      })
    )
    const invalid = fills.load(
      keyspace,
      "l",
      loader(() => ({ on: new Date() }) as unknown as Input)
    )
    const [a, b] = await settled(thrown, invalid)
    expect(String(a)).toContain("at once")
    expect(String(b)).toContain("$.on cannot be stored")
    expect(fills.stats.loadFailures).toBe(2)
    fills.checkInvariants()
  })

  it("that takes too long is aborted, and what it answers later is dropped", async () => {
    const { keyspace, fills, held, load, advance, timers } = open()
    const waiting = fills.load(keyspace, "k", loader(load, { timeoutMs: 500 }))
    advance(499)
    expect(await settled(waiting)).toEqual(["pending"])
    advance(1)
    const [error] = await settled(waiting)
    expect(error).toBeInstanceOf(LoadTimedOut)
    expect(error).toMatchObject({ key: "k", timeoutMs: 500 })
    expect(held[0]?.signal.aborted).toBe(true)
    held[0]?.give("late")
    await turns()
    expect([keyspace.size, timers.size, fills.stats.loadTimeouts, fills.stats.loadFailures]).toEqual([0, 0, 1, 0])
    fills.checkInvariants()
    keyspace.checkInvariants()
  })

  it("has half a minute where nobody says more", async () => {
    const { keyspace, fills, load, advance } = open()
    const waiting = fills.load(keyspace, "k", loader(load))
    advance(29_999)
    expect(await settled(waiting)).toEqual(["pending"])
    advance(1)
    expect((await settled(waiting))[0]).toBeInstanceOf(LoadTimedOut)
  })

  it("goes on while somebody waits, and is aborted when the last one has left", async () => {
    const { keyspace, fills, held, load } = open()
    const [one, two] = [new AbortController(), new AbortController()]
    const a = fills.load(keyspace, "k", loader(load), one.signal)
    const b = fills.load(keyspace, "k", loader(load), two.signal)
    one.abort("enough")
    expect(await settled(a, b)).toEqual(["enough", "pending"])
    expect([held[0]?.signal.aborted, fills.waiters]).toEqual([false, 1])
    two.abort("me too")
    expect(await settled(b)).toEqual(["me too"])
    expect([held[0]?.signal.aborted, fills.size, fills.waiters]).toEqual([true, 0, 0])
    expect(fills.stats).toMatchObject({ left: 2, aborted: 1 })
    void fills.load(keyspace, "k", loader(load))
    expect(held).toHaveLength(2)
    held[0]?.give("late")
    await turns()
    expect(keyspace.size).toBe(0)
    fills.checkInvariants()
  })

  it("is not begun for a caller that has given up before", async () => {
    const { keyspace, fills, held, load } = open()
    const given = AbortSignal.abort("before")
    expect(await settled(fills.load(keyspace, "k", loader(load), given))).toEqual(["before"])
    expect([held.length, fills.size]).toEqual([0, 0])
  })

  it("of a caller that leaves in time ends for the others as if it had not been there", async () => {
    const { keyspace, fills, held, load } = open()
    const one = new AbortController()
    const a = fills.load(keyspace, "k", loader(load), one.signal)
    const b = fills.load(keyspace, "k", loader(load))
    held[0]?.give("v")
    expect(await settled(a, b)).toEqual(["v", "v"])
    one.abort()
    expect([fills.waiters, fills.stats.left]).toEqual([0, 0])
  })

  it("that is local stays here, and nobody else is asked", async () => {
    const asked: string[] = []
    const tier: Tier = { name: "l2", get: async (key) => void asked.push(key) as undefined }
    const { keyspace, fills } = open({ tier })
    fills.listen(peersWith({}, asked))
    expect(
      await fills.load(
        keyspace,
        "k",
        loader(() => "v", { local: true })
      )
    ).toBe("v")
    expect([asked, keyspace.peek("k")?.isLocal]).toEqual([[], true])
  })
})

describe("a change during a load (law 11)", () => {
  const changes: Record<string, (keyspace: Keyspace) => void> = {
    "a set": (keyspace) => keyspace.set("k", "newer"),
    "a delete of what is not there yet": (keyspace) => keyspace.delete("k"),
    "an invalidation": (keyspace) => keyspace.invalidate("k"),
    "a flush": (keyspace) => keyspace.flush(),
    "an invalidation of its tag": (keyspace) => keyspace.invalidateTags(["t"]),
    "an invalidation of its prefix": (keyspace) => keyspace.invalidatePrefix("user:")
  }
  for (const [name, change] of Object.entries(changes)) {
    it(`${name} has its value answered and not stored, and the next who asks load anew`, async () => {
      const { keyspace, fills, held, load } = open()
      const key = name.includes("prefix") ? "user:1" : "k"
      const old = fills.load(keyspace, key, loader(load, { tags: ["t"] }))
      change(keyspace)
      const after = keyspace.get(key) ?? fills.load(keyspace, key, loader(load, { tags: ["t"] }))
      held[0]?.give("old")
      expect(await old).toBe("old")
      expect(keyspace.peek(key)?.value).toBe(name === "a set" ? "newer" : undefined)
      if (name === "a set") expect([after, held.length]).toEqual(["newer", 1])
      else {
        expect(held).toHaveLength(2)
        held[1]?.give("new")
        expect(await after).toBe("new")
        expect(keyspace.peek(key)?.value).toBe("new")
      }
      expect(fills.stats.notStored).toBe(1)
      fills.checkInvariants()
      keyspace.checkInvariants()
    })
  }

  it("of another key, or another's tag, leaves it alone", async () => {
    const { keyspace, fills, held, load } = open()
    const a = fills.load(keyspace, "k", loader(load, { tags: ["t"] }))
    keyspace.set("l", "v")
    keyspace.delete("l")
    keyspace.invalidateTags(["u"])
    const b = fills.load(keyspace, "k", loader(load))
    expect(held).toHaveLength(1)
    held[0]?.give("v")
    expect(await settled(a, b)).toEqual(["v", "v"])
    expect(keyspace.get("k")).toBe("v")
    expect(fills.stats).toMatchObject({ notStored: 0, revoked: 0 })
  })
})

const nobody: Peers = {
  mayHave: () => true,
  fetch: async () => undefined,
  lend: (lease) => void lease.keyspace.endLease(lease)
}

const peersWith = (values: Readonly<Record<string, string>>, asked: string[] = []): Peers => ({
  ...nobody,
  fetch: async (_keyspace, key, lease) => {
    asked.push(`peers ${key}`)
    const value = values[key]
    if (value === undefined) return undefined
    lease.stamp = 7
    lease.writer = 42
    return { value, meta: noMeta, expiresAtMs: 5_000 }
  }
})

describe("a key that is missed", () => {
  it("is asked of peers, then of the tier, then loaded; the first that has it fills it", async () => {
    const asked: string[] = []
    const tier: Tier = {
      name: "l2",
      get: async (key) => {
        asked.push(`tier ${key}`)
        return key === "b" ? { value: { from: "tier" }, ttlMs: 2_000, tags: ["t"] } : undefined
      }
    }
    const { keyspace, fills } = open({ tier })
    fills.listen(peersWith({ a: "peer's" }, asked))
    fills.register(
      keyspace,
      "*",
      loader(({ key }) => `loaded ${key}`)
    )
    const bring = (key: string) => fills.bring(keyspace, key)
    expect([await bring("a"), await bring("b"), await bring("c")]).toEqual(["peer's", { from: "tier" }, "loaded c"])
    expect(asked).toEqual(["peers a", "peers b", "tier b", "peers c", "tier c"])
    expect(keyspace.peek("a")).toMatchObject({ source: EntrySource.copied, expiresAtMs: 5_000 })
    expect(keyspace.peek("b")).toMatchObject({ source: EntrySource.loaded, expiresAtMs: 3_000, meta: { tags: ["t"] } })
    expect(keyspace.peek("c")).toMatchObject({ source: EntrySource.loaded, expiresAtMs: 0 })
    expect(fills.stats).toMatchObject({ peerFills: 1, tierFills: 1, loads: 1 })
    expect(keyspace.stats).toMatchObject({ hits: 0, misses: 0 })
  })

  it("is loaded where peers and tier fail, hang or answer what is no value; that is counted", async () => {
    const answers: Array<() => Promise<never>> = [
      () => Promise.reject(new Error("no link")),
      async () => ({ value: () => 1 }) as never,
      () => new Promise(() => {})
    ]
    const tier: Tier = { name: "l2", get: () => (answers.shift() as () => Promise<never>)() }
    const { keyspace, fills, advance } = open({ tier })
    fills.listen({ ...nobody, fetch: () => Promise.reject(new Error("gone")) })
    fills.register(
      keyspace,
      "*",
      loader(() => "v")
    )
    expect(await fills.bring(keyspace, "a")).toBe("v")
    expect(await fills.bring(keyspace, "b")).toBe("v")
    const hanging = fills.bring(keyspace, "c")
    expect(await settled(hanging)).toEqual(["pending"])
    advance(1_000)
    expect(await settled(hanging)).toEqual(["v"])
    expect(fills.stats).toMatchObject({ peerFailures: 3, tierFailures: 3, loads: 3 })
    fills.checkInvariants()
  })

  it("is not there where nobody has it", async () => {
    const { keyspace, fills } = open()
    fills.listen(peersWith({}))
    expect(await fills.bring(keyspace, "k")).toBe(undefined)
    expect([keyspace.size, fills.size]).toEqual([0, 0])
    keyspace.checkInvariants()
  })

  it("is no fill's business where there are no peers, no tier and no loader for it", () => {
    const { keyspace, fills, load } = open()
    expect([fills.isActive, fills.isWanted(keyspace, "k")]).toEqual([false, false])
    const remove = fills.register(keyspace, "user:*", loader(load)) as () => void
    expect([fills.isActive, fills.isWanted(keyspace, "k"), fills.isWanted(keyspace, "user:1")]).toEqual([
      true,
      false,
      true
    ])
    keyspace.set("user:1", "v")
    expect(fills.isWanted(keyspace, "user:1")).toBe(false)
    remove()
    remove()
    expect(fills.isActive).toBe(false)
    const leave = fills.listen(peersWith({}))
    expect([fills.isWanted(keyspace, "k"), fills.isWanted(keyspace, "k", "peers")]).toEqual([true, true])
    const others = fills.listen({ ...peersWith({}), mayHave: () => false })
    leave() // somebody else is asked by now
    expect([fills.isActive, fills.isWanted(keyspace, "k")]).toEqual([true, false])
    others()
    expect(fills.isActive).toBe(false)
  })

  it("comes from peers alone for those who want no more; whoever joins them with more gets more", async () => {
    const { keyspace, fills, held, load } = open()
    let answer: (value: undefined) => void = () => {}
    fills.listen({ ...nobody, fetch: () => new Promise((resolve) => (answer = resolve)) })
    fills.register(keyspace, "*", loader(load))
    const alone = fills.bring(keyspace, "k", "peers")
    answer(undefined)
    expect(await alone).toBe(undefined)
    const peers = fills.bring(keyspace, "k", "peers")
    const all = fills.bring(keyspace, "k")
    answer(undefined)
    await turns()
    held[0]?.give("v")
    expect([await peers, await all, held.length]).toEqual(["v", "v", 1])
  })

  it("has a late peer's stamp forgotten when it is loaded in the end", async () => {
    const { keyspace, fills } = open()
    fills.listen({
      ...nobody,
      fetch: async (_keyspace, _key, lease) => {
        lease.stamp = 7
        return undefined
      }
    })
    const stamps: number[] = []
    const { fill } = keyspace
    keyspace.fill = (lease, ...rest) => {
      stamps.push(lease.stamp)
      return fill.call(keyspace, lease, ...rest)
    }
    await fills.load(
      keyspace,
      "k",
      loader(() => "v")
    )
    expect(stamps).toEqual([0])
  })
})

describe("loaders", () => {
  const named =
    (name: string): Load =>
    () =>
      name

  it("serve by their patterns: the very key, then the longest prefix, then the first glob", async () => {
    const { keyspace, fills } = open()
    for (const pattern of ["u?er:*", "*:lock", "*", "user:*", "user:4*", "user:42", "us\\*r"]) {
      fills.register(keyspace, pattern, loader(named(pattern)))
    }
    const served = async (key: string) => await fills.bring(keyspace, key)
    expect(await served("user:42")).toBe("user:42")
    expect(await served("user:4")).toBe("user:4*")
    expect(await served("user:5")).toBe("user:*")
    expect(await served("us*r")).toBe("us\\*r")
    expect(await served("uzer:5")).toBe("*") // a prefix, however short, before any glob
  })

  it("that are globs are tried in their order, and can be taken back", async () => {
    const { keyspace, fills } = open()
    const remove = fills.register(keyspace, "u?er:*", loader(named("first"))) as () => void
    fills.register(keyspace, "*:lock", loader(named("second")))
    expect(await fills.bring(keyspace, "user:lock")).toBe("first")
    remove()
    keyspace.flush()
    expect(await fills.bring(keyspace, "user:lock")).toBe("second")
    expect(fills.isWanted(keyspace, "user:1")).toBe(false)
  })

  it("are one a pattern, and belong to one keyspace", async () => {
    const { keyspace, openKeyspace, fills } = open()
    for (const pattern of ["user:*", "user:1", "*:x"]) {
      const remove = fills.register(keyspace, pattern, loader(named("a"))) as () => void
      expect(fills.register(keyspace, pattern, loader(named("b")))).toBeInstanceOf(InvalidLoader)
      remove()
      expect(fills.register(keyspace, pattern, loader(named("b")))).toBeTypeOf("function")
      remove() // not what stands there now
      expect(fills.isWanted(keyspace, pattern.replace("*", "1"))).toBe(true)
    }
    expect(fills.isWanted(openKeyspace(), "user:1")).toBe(false)
  })

  it("are refused where the pattern is none, and past a thousand", () => {
    const { keyspace, fills, load } = open()
    const refused = (pattern: string) => String(fills.register(keyspace, pattern, loader(load)))
    expect(refused("")).toContain("is empty")
    expect(refused("[a")).toContain("never closed")
    for (let i = 0; i < 1_000; i++) expect(fills.register(keyspace, `k${i}`, loader(load))).toBeTypeOf("function")
    expect(refused("one more")).toContain("there are 1000 loaders, which is the limit")
  })

  it("are refused with options that are none", () => {
    const load = () => "v"
    expect(loaderOf(load, { ttl: 0 })).toMatchObject({ _tag: "InvalidTtl" })
    expect(loaderOf(load, { metadata: { on: new Date() as unknown as string } })).toMatchObject({
      _tag: "InvalidValue"
    })
    for (const timeoutMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(loaderOf(load, { timeoutMs })).toMatchObject({ _tag: "InvalidLoader", field: "timeoutMs" })
    }
  })
})

describe("the limits", () => {
  it("turn away who would begin one load too many, and let others join", async () => {
    const { keyspace, fills, held, load } = open({ limits: { flightsMax: 2 } })
    const a = fills.load(keyspace, "a", loader(load))
    void fills.load(keyspace, "b", loader(load))
    const [error] = await settled(fills.load(keyspace, "c", loader(load)))
    expect(error).toBeInstanceOf(TooManyLoads)
    expect(error).toMatchObject({ key: "c", of: "loads", limit: 2 })
    void fills.load(keyspace, "a", loader(load))
    held[0]?.give("v")
    await a
    void fills.load(keyspace, "c", loader(load))
    expect([held.length, fills.stats.refused]).toEqual([3, 1])
    fills.checkInvariants()
  })

  it("turn away who would be one too many to wait", async () => {
    const { keyspace, fills, load } = open({ limits: { waitersMax: 2 } })
    const leaver = new AbortController()
    fills.load(keyspace, "a", loader(load), leaver.signal).catch(() => {})
    void fills.load(keyspace, "a", loader(load))
    expect((await settled(fills.load(keyspace, "a", loader(load))))[0]).toMatchObject({ of: "waiters", limit: 2 })
    leaver.abort()
    void fills.load(keyspace, "a", loader(load))
    expect(fills.waiters).toBe(2)
    fills.checkInvariants()
  })
})

describe("warming", () => {
  it("invalidates what is here and loads each key once, however often it is named", async () => {
    const { keyspace, fills, events } = open()
    const loads: string[] = []
    fills.register(
      keyspace,
      "user:*",
      loader(({ key }) => {
        loads.push(key)
        if (key === "user:bad") throw new Error("not today")
        return key === "user:none" ? undefined : `new ${key}`
      })
    )
    keyspace.set("user:1", "old")
    keyspace.set("page:1", "stays")
    events.length = 0
    const report = await fills.warm(keyspace, ["user:1", "user:2", "user:1", "page:1", "user:none", "user:bad"])
    expect(report).toMatchObject({ warmed: 2, empty: 1, withoutLoader: ["page:1"], failed: [{ key: "user:bad" }] })
    expect(loads).toEqual(["user:1", "user:2", "user:none", "user:bad"])
    expect([keyspace.get("user:1"), keyspace.get("page:1")]).toEqual(["new user:1", "stays"])
    expect(events.slice(0, 3)).toEqual(["invalidate user:1", "fill user:1", "fill user:2"])
    expect(fills.stats).toMatchObject({ warmed: 2, warmsWithoutLoader: 1, warmFailures: 1 })
  })

  it("asks the loader and nobody who may have an older value", async () => {
    const asked: string[] = []
    const { keyspace, fills } = open()
    fills.listen(peersWith({ k: "a peer's" }, asked))
    fills.register(
      keyspace,
      "k",
      loader(() => "new")
    )
    await fills.warm(keyspace, ["k"])
    expect([keyspace.peek("k")?.value, asked]).toEqual(["new", []])
  })

  it("has a few loads under way at a time", async () => {
    const { keyspace, fills, held, load } = open({ limits: { warmingMax: 2 } })
    fills.register(keyspace, "*", loader(load))
    const report = fills.warm(keyspace, ["a", "b", "c"])
    expect(held.map(({ key }) => key)).toEqual(["a", "b"])
    held[1]?.give("v")
    await turns()
    expect(held.map(({ key }) => key)).toEqual(["a", "b", "c"])
    held[0]?.give("v")
    held[2]?.give("v")
    expect((await report).warmed).toBe(3)
  })

  it("of one who cannot wait invalidates at once, loads when there is room, and says what fails", async () => {
    const { keyspace, fills, held, load } = open({ limits: { warmingMax: 1, warmQueueMax: 1 } })
    fills.register(keyspace, "k*", loader(load))
    keyspace.set("k2", "old")
    const failed: unknown[] = []
    const later = (key: string) => fills.warmLater(keyspace, key, (error) => failed.push(error))
    expect([later("k1"), later("k2"), later("k3"), later("x")]).toEqual([null, null, "no room", "no room"])
    expect([keyspace.peek("k2"), held.length]).toEqual([undefined, 1])
    held[0]?.break(new Error("down"))
    await turns()
    expect(String(failed[0])).toContain("the load of 'k1' has failed: down")
    expect(held[1]?.key).toBe("k2")
    expect(later("x")).toBe("no loader")
    held[1]?.give("new")
    await turns()
    expect(keyspace.peek("k2")?.value).toBe("new")
    expect(fills.stats).toMatchObject({ warmed: 1, warmsDropped: 2, warmsWithoutLoader: 1, warmFailures: 1 })
  })

  it("leaves alone what somebody has filled before its turn came", async () => {
    const { keyspace, fills, held, load } = open({ limits: { warmingMax: 1 } })
    fills.register(keyspace, "*", loader(load))
    for (const key of ["a", "b"]) fills.warmLater(keyspace, key, () => {})
    keyspace.set("b", "set")
    held[0]?.give("v")
    await turns()
    expect([held.length, keyspace.peek("b")?.value]).toEqual([1, "set"])
  })
})

it("closes with all loads aborted, and all who wait or ask told so", async () => {
  const { keyspace, fills, held, load, timers } = open()
  const waiting = fills.load(keyspace, "k", loader(load))
  fills.close()
  const [before, after] = await settled(waiting, fills.load(keyspace, "k", loader(load)))
  expect([String(before), String(after)]).toEqual([
    expect.stringContaining("the cache is closed"),
    expect.stringContaining("the cache is closed")
  ])
  expect([held[0]?.signal.aborted, held.length, timers.size, fills.size, fills.waiters]).toEqual([true, 1, 0, 0, 0])
  keyspace.checkInvariants()
})
