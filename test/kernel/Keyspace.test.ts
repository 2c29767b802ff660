import { describe, expect, it } from "vitest"
import { allCauses, Cause, type CauseName, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import type { KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { EntrySource, entryBytes, Keyspace, type KeyspaceOptions, SetFlag } from "../../src/kernel/Keyspace.ts"
import { type Pattern, parsePattern } from "../../src/kernel/Pattern.ts"
import type { Watcher } from "../../src/kernel/PatternTrie.ts"
import { noMeta } from "../../src/kernel/Value.ts"

const startMs = 1_000_000

/** A keyspace with everybody watching, and what was heard as "cause key". */
const watched = (options: Partial<KeyspaceOptions> = {}, mask = allCauses) => {
  const clock = { atMs: startMs, nowMs: () => clock.atMs }
  const events: KeyEvent[] = []
  const wakes: number[] = []
  const sink = {
    onEvent: (event: KeyEvent): void => {
      events.push(event)
    },
    onSettled: (): void => {}
  }
  const keyspace = new Keyspace({
    maxEntries: 100,
    maxBytes: 1_000_000,
    clock,
    sink,
    wake: (atMs) => wakes.push(atMs),
    ...options
  })
  keyspace.trie.add({ pattern: parsePattern("*") as Pattern, mask, priority: 0 })
  const heard = (): string[] => events.map(({ cause, key }) => `${causeNames[cause]} ${key}`)
  /** Does `react` on each event with this cause. */
  const on = (cause: CauseName, react: (event: KeyEvent) => void): void => {
    sink.onEvent = (event) => {
      events.push(event)
      if (causeNames[event.cause] === cause) react(event)
    }
  }
  return { keyspace, clock, sink, events, heard, on, wakes }
}

const keysOf = (keyspace: Keyspace): string[] => {
  const keys: string[] = []
  keyspace.scan(0, Number.MAX_SAFE_INTEGER, ({ key }) => keys.push(key))
  return keys.sort()
}

describe("Keyspace", () => {
  it("answers a read with the value that was found, whatever the read sets off", () => {
    const { keyspace, on } = watched({}, causeBit(Cause.read))
    on("read", () => keyspace.set("k", "changed"))
    keyspace.set("k", "found")
    expect(keyspace.get("k")).toBe("found")
    expect(keyspace.peek("k")?.value).toBe("changed")
  })

  it("evicts the least recently used entry past the limit of entries; a read is a use, a peek is not", () => {
    const { keyspace, heard } = watched({ maxEntries: 3 }, causeBit(Cause.evict))
    for (const key of ["a", "b", "c"]) keyspace.set(key, "v")
    keyspace.get("a")
    keyspace.peek("b")
    keyspace.set("d", "v")
    keyspace.set("e", "v")
    expect(heard()).toEqual(["evict b", "evict c"])
    expect(keyspace.stats.evictions).toBe(2)
  })

  it("evicts until the bytes fit, and refuses what could never fit, keeping the old value", () => {
    const room = 4 * (entryBytes + 10)
    const { keyspace, heard } = watched({ maxBytes: room }, causeBit(Cause.evict))
    for (const key of ["a", "b", "c", "d"]) keyspace.set(key, "123456789")
    expect([keyspace.size, keyspace.bytes]).toEqual([4, room])
    expect(keyspace.set("d", "x".repeat(room))).toBe(false)
    expect(keyspace.peek("d")?.value).toBe("123456789")
    expect([keyspace.stats.refused, heard()]).toEqual([1, []])
    expect(keyspace.set("d", "x".repeat(room - entryBytes - 1))).toBe(true)
    expect([keyspace.size, keyspace.bytes]).toEqual([1, room])
    expect(heard()).toEqual(["evict a", "evict b", "evict c"])
  })

  it("expires, and does not evict, a victim whose time has come", () => {
    const { keyspace, clock, heard } = watched({ maxEntries: 1 })
    keyspace.set("a", "v", startMs + 5)
    clock.atMs += 5
    keyspace.set("b", "v")
    expect(heard()).toEqual(["write a", "write b", "expire a"])
    expect([keyspace.stats.expires, keyspace.stats.evictions]).toEqual([1, 0])
  })

  const allButFlush = allCauses & ~causeBit(Cause.flush)

  it.each([
    ["a read", (keyspace: Keyspace) => keyspace.get("k") === undefined],
    ["a delete", (keyspace: Keyspace) => !keyspace.delete("k")],
    ["a change of its deadline", (keyspace: Keyspace) => !keyspace.expireAt("k", 0)],
    ["a flush", (keyspace: Keyspace) => keyspace.flush() === 0],
    ["advance", (keyspace: Keyspace) => keyspace.advance(startMs + 5, 10) === 1]
  ])("expires an entry at its deadline when %s finds it", (_, find) => {
    const { keyspace, clock, heard } = watched({}, allButFlush)
    keyspace.set("k", "v", startMs + 5)
    clock.atMs += 4
    expect(keyspace.peek("k")?.value).toBe("v")
    clock.atMs += 1
    expect(keyspace.peek("k")).toBeUndefined()
    expect(find(keyspace)).toBe(true)
    expect(heard()).toEqual(["write k", "expire k"])
    expect(keyspace.size).toBe(0)
  })

  it("takes a deadline that has passed for an expiry now, wherever the entry's slot is", () => {
    const { keyspace, events, wakes } = watched({ maxEntries: 1000 }, causeBit(Cause.expire))
    for (let i = 0; i < 300; i++) keyspace.set(`k${i}`, "v")
    expect(keyspace.expireAt("k299", startMs)).toBe(true)
    expect(events).toMatchObject([{ key: "k299", oldValue: "v", expiresAtMs: startMs }])
    expect([keyspace.expiringSize, wakes]).toEqual([0, []])
    keyspace.checkInvariants()
  })

  it("keeps deadline and metadata where it is asked to, and replaces them otherwise", () => {
    const { keyspace } = watched()
    const meta = { metadata: { by: "ann" }, tags: ["t"], cost: 2 }
    keyspace.set("k", "1", startMs + 50, meta)
    keyspace.set("k", "2", 0, noMeta, SetFlag.keepTtl | SetFlag.keepMeta | SetFlag.local)
    expect(keyspace.peek("k")).toMatchObject({ value: "2", expiresAtMs: startMs + 50, meta, isLocal: true })
    keyspace.set("k", "3")
    expect(keyspace.peek("k")).toMatchObject({ value: "3", expiresAtMs: 0, meta: noMeta, isLocal: false })
    expect(keyspace.expiringSize).toBe(0)
  })

  it("calls a fill a fill and an invalidation an invalidation", () => {
    const { keyspace, heard } = watched()
    keyspace.fill(keyspace.lease("k"), "v", 0, noMeta, EntrySource.loaded)
    keyspace.delete("k", Cause.invalidate)
    expect(heard()).toEqual(["fill k", "invalidate k"])
  })

  it("builds no event that nobody asked for", () => {
    const { keyspace, events } = watched({}, causeBit(Cause.delete))
    for (let i = 0; i < 10; i++) keyspace.set("k", `${i}`)
    keyspace.get("k")
    keyspace.delete("k")
    expect(events.map(({ sequence }) => sequence)).toEqual([1])
  })

  it("logs reads, too, for those who ask for them, though nobody watches", () => {
    const { keyspace, events } = watched({}, 0)
    keyspace.log.open(10, causeBit(Cause.read))
    keyspace.set("k", "v")
    keyspace.get("k")
    keyspace.get("none")
    expect(keyspace.log.recent().map(({ cause, key, value }) => [cause, key, value])).toEqual([[Cause.read, "k", "v"]])
    expect(events).toEqual([])
  })

  it("logs a flush as one event with its count", () => {
    const { keyspace, heard } = watched({}, causeBit(Cause.delete) | causeBit(Cause.evict))
    for (const key of ["a", "b", "c"]) keyspace.set(key, "v", startMs + 10)
    keyspace.log.open(10)
    expect(keyspace.flush()).toBe(3)
    expect(keyspace.log.recent()).toMatchObject([{ cause: Cause.flush, key: "", count: 3, version: 4 }])
    expect([heard(), keyspace.size, keyspace.bytes, keyspace.nextWakeMs()]).toEqual([
      [],
      0,
      0,
      Number.POSITIVE_INFINITY
    ])
    keyspace.checkInvariants()
  })

  it("shows a flush to the watchers of all keys, and each key of theirs to those who want that, oldest use first", () => {
    const { keyspace, events } = watched({}, causeBit(Cause.flush))
    const keys: Watcher = {
      pattern: parsePattern("user:*") as Pattern,
      mask: causeBit(Cause.flushKey) | causeBit(Cause.flush),
      priority: 0
    }
    keyspace.trie.add(keys)
    for (const key of ["user:1", "other", "user:2", "user:3"]) keyspace.set(key, `${key}!`)
    keyspace.get("user:1")
    keyspace.log.open(10)
    expect(keyspace.flush()).toBe(4)
    expect(events.map(({ key, isFlushedKey, oldValue, count }) => [key, isFlushedKey, oldValue, count])).toEqual([
      ["user:2", true, "user:2!", 1],
      ["user:3", true, "user:3!", 1],
      ["user:1", true, "user:1!", 1],
      ["", false, undefined, 4]
    ])
    expect(events.map(({ version }) => version)).toEqual([5, 6, 7, 8])
    expect(keyspace.log.recent()).toEqual(events)
    keyspace.checkInvariants()
  })

  it("settles once for a flush, however much was due, and for a set, however much it evicts", () => {
    const { keyspace, clock, sink, heard } = watched({ maxBytes: 100 * (entryBytes + 10) })
    let settled = 0
    sink.onSettled = () => {
      settled++
    }
    for (let i = 0; i < 50; i++) keyspace.set(`k${i}`, "v", startMs + 1)
    expect(settled).toBe(50)
    keyspace.set("large", "v".repeat(80 * (entryBytes + 10)))
    expect([settled, keyspace.stats.evictions]).toEqual([51, 31])
    clock.atMs += 1
    expect(keyspace.flush()).toBe(1)
    expect([settled, keyspace.stats.expires, heard().at(-1)]).toEqual([52, 19, "flush "])
  })

  /** What the sink is told in its order, with the keys that are there when it is. */
  const order = ({ keyspace, sink }: ReturnType<typeof watched>): string[] => {
    const told: string[] = []
    sink.onEvent = ({ key }) => told.push(`${key} of ${keysOf(keyspace).length}`)
    sink.onSettled = () => told.push("settled")
    return told
  }

  it("makes one change of several: events when all of them have happened, settled once", () => {
    const all = watched()
    const { keyspace } = all
    const told = order(all)
    const outer = keyspace.hold()
    keyspace.set("a", "v")
    const inner = keyspace.hold()
    keyspace.set("b", "v")
    keyspace.release(inner)
    expect(told).toEqual([])
    keyspace.release(outer)
    expect(told).toEqual(["a of 2", "b of 2", "settled"])
    keyspace.set("c", "v")
    expect(told.slice(3)).toEqual(["c of 3", "settled"])
  })

  it("makes one operation of several changes: the events of each at once, settled once, or not without events", () => {
    const all = watched()
    const { keyspace } = all
    const told = order(all)
    keyspace.beginOperation()
    keyspace.set("a", "v")
    keyspace.beginOperation()
    keyspace.set("b", "v")
    keyspace.endOperation()
    expect(told).toEqual(["a of 1", "b of 2"])
    keyspace.endOperation()
    expect(told.slice(2)).toEqual(["settled"])
    keyspace.beginOperation()
    keyspace.peek("a")
    keyspace.endOperation()
    expect(told.length).toBe(3)
  })

  it("counts an invalidation as one, and not as a delete", () => {
    const { keyspace } = watched()
    for (const key of ["a", "b", "c"]) keyspace.set(key, "v")
    keyspace.delete("a")
    for (const key of ["b", "c", "none"]) keyspace.delete(key, Cause.invalidate)
    expect([keyspace.stats.deletes, keyspace.stats.invalidations]).toEqual([1, 2])
  })

  it("settles each expiry of an advance by itself", () => {
    const { keyspace, clock, sink } = watched({}, causeBit(Cause.expire))
    const order: string[] = []
    sink.onEvent = ({ key }) => order.push(key)
    sink.onSettled = () => order.push("settled")
    for (const key of ["a", "b"]) keyspace.set(key, "v", startMs + 1)
    clock.atMs += 1
    keyspace.advance(clock.atMs, 10)
    expect(order).toEqual(["a", "settled", "b", "settled"])
  })

  it("goes on with the events behind one at which the sink throws, and with the next operations", () => {
    const told: unknown[] = []
    const { keyspace, sink, heard, on } = watched({ maxEntries: 1, onSinkError: (error) => told.push(error) })
    on("write", ({ key }) => {
      if (key === "b") throw new Error("broken")
    })
    sink.onSettled = () => {
      if (keyspace.peek("b") !== undefined) throw new Error("broken at the settling")
    }
    keyspace.set("a", "v")
    keyspace.set("b", "v")
    keyspace.set("c", "v")
    expect(heard()).toEqual(["write a", "write b", "evict a", "write c", "evict b"])
    expect(told).toEqual([new Error("broken"), new Error("broken at the settling")])
    expect(keyspace.stats.sinkErrors).toBe(2)
  })

  it("keeps the events behind one whose error cannot even be told, for the next operation", () => {
    const { keyspace, heard, on } = watched({
      maxEntries: 1,
      onSinkError: (error) => {
        throw error
      }
    })
    on("write", ({ key }) => {
      if (key === "b") throw new Error("broken")
    })
    keyspace.set("a", "v")
    expect(() => keyspace.set("b", "v")).toThrow("broken")
    keyspace.set("c", "v")
    expect(heard()).toEqual(["write a", "write b", "evict a", "write c", "evict b"])
  })

  it("shows an event's watchers to the sink, and keeps no list of them in the log", () => {
    const { keyspace, on } = watched()
    keyspace.log.open(10)
    const seen: number[] = []
    on("write", (event) => seen.push(event.watchers.length))
    keyspace.set("k", "v")
    expect([seen, keyspace.log.recent()[0]?.watchers]).toEqual([[1], []])
  })

  it("keeps in the log no more of what has gone than it was given", () => {
    const { keyspace } = watched({ maxBytes: 1 << 20 })
    keyspace.log.open(100, allCauses, 10_000)
    for (let i = 0; i < 10; i++) keyspace.set("k", "x".repeat(2_000))
    expect(keyspace.log.recent()).toHaveLength(2) // each holds the value before and the value after
    keyspace.set("k", "small")
    keyspace.set("k", "small")
    expect(keyspace.log.recent().map(({ oldValue }) => oldValue?.toString().length)).toEqual([2_000, 2_000, 5])
  })

  it("lets the sink see a flush's expiries when the flush is complete: what it writes then, stays", () => {
    const { keyspace, clock, on } = watched()
    keyspace.set("due", "v", startMs + 1)
    keyspace.set("other", "v")
    clock.atMs += 1
    on("expire", () => {
      expect(keyspace.size).toBe(0)
      keyspace.set("note", "due went")
    })
    expect(keyspace.flush()).toBe(1)
    expect(keysOf(keyspace)).toEqual(["note"])
  })

  it("keeps what the sink writes after flushing in the middle of advance, until its own deadline", () => {
    const { keyspace, clock, on, heard } = watched({}, causeBit(Cause.expire))
    keyspace.set("k", "v", startMs + 10)
    clock.atMs += 20
    on("expire", () => {
      keyspace.flush()
      if (keyspace.size === 0 && clock.atMs === startMs + 20) keyspace.set("next", "v", startMs + 10 + 64)
    })
    keyspace.advance(startMs + 20, 100)
    expect([heard(), keysOf(keyspace)]).toEqual([["expire k"], ["next"]])
    clock.atMs = startMs + 74
    keyspace.advance(startMs + 74, 100)
    expect(heard()).toEqual(["expire k", "expire next"])
  })

  it("hands the sink what it causes itself only after what was waiting, then says that all is settled", () => {
    const { keyspace, sink, heard } = watched({ maxEntries: 2 })
    const order: string[] = []
    sink.onEvent = ({ cause, key }) => {
      order.push(`${causeNames[cause]} ${key}`)
      if (key === "c" && cause === Cause.write) keyspace.delete("b")
    }
    sink.onSettled = () => order.push("settled")
    for (const key of ["a", "b", "c"]) keyspace.set(key, "v")
    expect(order.slice(4)).toEqual(["write c", "evict a", "delete b", "settled"])
    expect(heard()).toEqual([])
  })

  it("settles again when the sink changes something at the settling", () => {
    const { keyspace, sink } = watched()
    const order: string[] = []
    sink.onEvent = ({ key }) => order.push(key)
    sink.onSettled = () => {
      order.push("settled")
      if (keyspace.size === 1) keyspace.set("b", "v")
    }
    keyspace.set("a", "v")
    expect(order).toEqual(["a", "settled", "b", "settled"])
  })

  it("asks to be woken for what is earlier than what it knew, and for nothing else", () => {
    const { keyspace, wakes } = watched()
    keyspace.set("a", "v", startMs + 60)
    keyspace.set("b", "v", startMs + 61)
    keyspace.set("c", "v", startMs + 30)
    expect(wakes).toEqual([startMs + 60, startMs + 30])
    expect(keyspace.nextWakeMs()).toBe(startMs + 30)
  })

  it("does nothing when advanced from within its own advance", () => {
    const { keyspace, clock, on, heard } = watched({}, causeBit(Cause.expire))
    for (const key of ["a", "b"]) keyspace.set(key, "v", startMs + 1)
    clock.atMs += 1
    const nested: number[] = []
    on("expire", () => nested.push(keyspace.advance(clock.atMs, 100), keyspace.size))
    expect(keyspace.advance(clock.atMs, 100)).toBe(2)
    expect([heard(), nested]).toEqual([
      ["expire a", "expire b"],
      [0, 1, 0, 0]
    ])
  })

  it("goes on where a limit stopped it", () => {
    const { keyspace, clock } = watched({ maxEntries: 10_000, maxBytes: 1 << 30 })
    for (let i = 0; i < 5000; i++) keyspace.set(`k${i}`, "v", startMs + 1)
    clock.atMs += 1
    const work: number[] = []
    do work.push(keyspace.advance(clock.atMs, 999))
    while (work.at(-1) === 999)
    expect(work).toEqual([999, 999, 999, 999, 999, 5])
    expect([keyspace.size, keyspace.stats.expires]).toEqual([0, 5000])
  })

  it("carries the origin that was set when the change was made", () => {
    const { keyspace, events } = watched()
    const origin = { depth: 1 }
    keyspace.origin = origin
    keyspace.set("a", "v")
    keyspace.origin = null
    keyspace.set("b", "v")
    expect(events.map((event) => event.origin)).toEqual([origin, null])
  })

  it("is found out by checkInvariants when its count of bytes is wrong", () => {
    const { keyspace } = watched()
    keyspace.set("a", "v")
    keyspace.bytes += 1
    expect(() => keyspace.checkInvariants()).toThrow(/entries sum to \d+ bytes, \d+ counted/)
  })
})
