import { describe, expect, it } from "vitest"
import { Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import type { Gate, PendingWrite } from "../../src/kernel/Gate.ts"
import { type Entry, EntrySource, Keyspace, type KeyspaceOptions, SetFlag } from "../../src/kernel/Keyspace.ts"
import { type Pattern, parsePattern } from "../../src/kernel/Pattern.ts"
import { noMeta } from "../../src/kernel/Value.ts"

const startMs = 1_000_000
const meta = { metadata: { by: "ann" }, tags: ["t"], cost: 1 }

/** A keyspace whose gate is asked for keys of `pattern`, with everything written down that it and the sink see. */
const gated = (gate: Partial<Gate>, pattern = "*", options: Partial<KeyspaceOptions> = {}) => {
  const clock = { atMs: startMs, nowMs: () => clock.atMs }
  const seen: string[] = []
  const asked = {
    beforeWrite: (write: PendingWrite, keyspace: Keyspace) => {
      seen.push(`write ${write.key}?`)
      return gate.beforeWrite?.(write, keyspace) ?? null
    },
    beforeDelete: (entry: Entry, keyspace: Keyspace) => {
      seen.push(`delete ${entry.key}?`)
      return gate.beforeDelete?.(entry, keyspace) ?? null
    }
  }
  const keyspace = new Keyspace({
    maxEntries: 100,
    maxBytes: 1_000_000,
    clock,
    sink: {
      onEvent: ({ cause, key }) => seen.push(`${causeNames[cause]} ${key}`),
      onSettled: () => seen.push("settled")
    },
    gate: asked,
    wake() {},
    ...options
  })
  const watch = (source: string, ...causes: Cause[]) => {
    const mask = causes.reduce<number>((bits, cause) => bits | causeBit(cause), 0)
    keyspace.trie.add({ pattern: parsePattern(source) as Pattern, mask, priority: 0 })
  }
  watch(pattern, Cause.beforeWrite, Cause.beforeDelete)
  watch("*", Cause.write, Cause.delete, Cause.expire, Cause.evict)
  return { keyspace, clock, seen, watch }
}

describe("a gate before a write", () => {
  it("is asked before anything has changed, and may rewrite value, deadline and metadata", () => {
    const { keyspace, seen } = gated({
      beforeWrite: (write, { size }) => {
        expect([size, write.value, write.expiresAtMs, write.meta, write.oldEntry]).toEqual([
          0,
          "v",
          0,
          noMeta,
          undefined
        ])
        expect(write.match.watchersOf(Cause.beforeWrite)).toHaveLength(1)
        write.value = "rewritten"
        write.expiresAtMs = startMs + 10
        write.meta = meta
        return null
      }
    })
    expect(keyspace.set("k", "v")).toBe(true)
    expect(keyspace.peek("k")).toMatchObject({ value: "rewritten", expiresAtMs: startMs + 10, meta })
    expect(seen).toEqual(["write k?", "write k", "settled"])
    keyspace.checkInvariants()
  })

  it("refuses: nothing changes, and the reason stays until the next set or delete", () => {
    let reason: string | null = null
    const { keyspace, seen } = gated({ beforeWrite: () => reason })
    keyspace.set("k", "old", startMs + 50, meta)
    const { version, bytes } = keyspace
    seen.length = 0
    reason = "not on Sundays"
    expect(keyspace.set("k", "new")).toBe(false)
    expect([keyspace.version, keyspace.bytes, keyspace.refusal]).toEqual([version, bytes, "not on Sundays"])
    expect(keyspace.peek("k")).toMatchObject({ value: "old", expiresAtMs: startMs + 50, meta, version })
    expect(keyspace.stats).toMatchObject({ writes: 1, rejected: 1, refused: 0 })
    expect(seen).toEqual(["write k?", "settled"])
    keyspace.get("k")
    expect(keyspace.refusal).toBe("not on Sundays")
    reason = null
    keyspace.set("k", "new")
    expect(keyspace.refusal).toBeNull()
  })

  it("refuses with an empty reason, too", () => {
    const { keyspace } = gated({ beforeWrite: () => "" })
    expect([keyspace.set("k", "v"), keyspace.refusal]).toEqual([false, ""])
  })

  it("leaves no reason where a set is too large, though it passed", () => {
    const { keyspace } = gated({ beforeWrite: ({ value }) => (value === "no" ? "no" : null) }, "*", { maxBytes: 400 })
    keyspace.set("k", "no")
    expect([keyspace.set("k", "x".repeat(400)), keyspace.refusal]).toEqual([false, null])
    expect(keyspace.stats).toMatchObject({ rejected: 1, refused: 1 })
  })

  it("is asked for what the gate makes of it: the size that counts is that of the rewritten value", () => {
    const { keyspace } = gated(
      {
        beforeWrite: (write) => {
          write.value = (write.value as string).repeat(100)
          return null
        }
      },
      "*",
      { maxBytes: 1_000 }
    )
    expect([keyspace.set("k", "ten bytes!"), keyspace.set("k", "v")]).toEqual([false, true])
    expect(keyspace.peek("k")?.value).toHaveLength(100)
  })

  it("sees an entry past its deadline expired, refused or not", () => {
    const { keyspace, clock, seen } = gated({ beforeWrite: ({ oldEntry }) => (oldEntry === undefined ? "no" : null) })
    keyspace.set("k", "v", startMs + 5, noMeta, SetFlag.passed)
    clock.atMs += 5
    seen.length = 0
    expect(keyspace.set("k", "new")).toBe(false)
    expect(seen).toEqual(["write k?", "expire k", "settled"])
    expect([keyspace.size, keyspace.stats.expires]).toEqual([0, 1])
  })

  it("sees what would be kept, and what it changes of that is changed", () => {
    let deadlineMs: number | undefined
    const { keyspace } = gated({
      beforeWrite: (write) => {
        expect([write.keepsTtl, write.expiresAtMs, write.meta]).toEqual([true, startMs + 50, meta])
        if (deadlineMs !== undefined) write.expiresAtMs = deadlineMs
        return null
      }
    })
    keyspace.set("k", "1", startMs + 50, meta, SetFlag.passed)
    keyspace.set("k", "2", 0, noMeta, SetFlag.keepTtl | SetFlag.keepMeta | SetFlag.local)
    expect(keyspace.peek("k")).toMatchObject({ value: "2", expiresAtMs: startMs + 50, meta, isLocal: true })
    deadlineMs = 0
    keyspace.set("k", "3", 0, noMeta, SetFlag.keepTtl | SetFlag.keepMeta)
    expect(keyspace.peek("k")).toMatchObject({ value: "3", expiresAtMs: 0, meta, isLocal: false })
    keyspace.checkInvariants()
  })

  it("says of a new key that it keeps nothing", () => {
    const kept: boolean[] = []
    const { keyspace } = gated({
      beforeWrite: ({ keepsTtl }) => {
        kept.push(keepsTtl)
        return null
      }
    })
    keyspace.set("k", "v", startMs + 5, noMeta, SetFlag.keepTtl)
    expect([kept, keyspace.peek("k")?.expiresAtMs]).toEqual([[false], startMs + 5])
  })

  it("is not asked for fills, for what has passed, nor for keys whose watchers do not want it", () => {
    const { keyspace, seen } = gated({ beforeWrite: () => "no" }, "session:*")
    expect(keyspace.fill(keyspace.lease("session:1"), "v", 0, noMeta, EntrySource.loaded)).toBe(true)
    expect(keyspace.set("session:2", "v", 0, noMeta, SetFlag.passed)).toBe(true)
    expect(keyspace.set("other", "v")).toBe(true)
    expect(seen.filter((each) => each.endsWith("?"))).toEqual([])
    expect(keyspace.set("session:3", "v")).toBe(false)
  })

  it("is left out where it throws, with what it had changed, and that is counted and told", () => {
    const told: unknown[] = []
    const { keyspace, seen } = gated(
      {
        beforeWrite: (write) => {
          write.value = "half"
          write.expiresAtMs = 1
          write.meta = meta
          throw new Error("broken")
        },
        beforeDelete: () => {
          throw new Error("broken, too")
        }
      },
      "*",
      { onSinkError: (error) => told.push(error) }
    )
    expect(keyspace.set("k", "v")).toBe(true)
    expect(keyspace.peek("k")).toMatchObject({ value: "v", expiresAtMs: 0, meta: noMeta })
    expect(keyspace.delete("k")).toBe(true)
    expect(seen).toEqual(["write k?", "write k", "settled", "delete k?", "delete k", "settled"])
    expect([keyspace.stats.sinkErrors, told]).toEqual([2, [new Error("broken"), new Error("broken, too")]])
  })

  it("may change entries itself: that comes first, and all of it is settled at once", () => {
    const { keyspace, seen } = gated(
      {
        beforeWrite: (write, inside) => {
          inside.set("audit", write.value)
          inside.delete("k")
          return null
        }
      },
      "k"
    )
    keyspace.set("k", "old", 0, noMeta, SetFlag.passed)
    seen.length = 0
    expect(keyspace.set("k", "new")).toBe(true)
    expect(seen).toEqual(["write k?", "delete k?", "write audit", "delete k", "write k", "settled"])
    expect([keyspace.peek("audit")?.value, keyspace.peek("k")?.value]).toEqual(["new", "new"])
    keyspace.checkInvariants()
  })

  it("may be asked while it is asked, and each asking has its own write", () => {
    const { keyspace, seen } = gated({
      beforeWrite: (write, inside) => {
        if (write.key === "a") inside.set("b", "inner")
        expect(write.value).toBe(write.key === "a" ? "outer" : "inner")
        write.value = `${write.value}!`
        return write.key === "b" ? "b is not to be" : null
      }
    })
    expect(keyspace.set("a", "outer")).toBe(true)
    expect([keyspace.peek("a")?.value, keyspace.peek("b"), keyspace.refusal]).toEqual(["outer!", undefined, null])
    expect(seen).toEqual(["write a?", "write b?", "write a", "settled"])
  })
})

describe("a gate before a delete", () => {
  it("refuses: the entry stays, and the reason is there", () => {
    const { keyspace, seen } = gated({ beforeDelete: ({ value }) => (value === "kept" ? "it is kept" : null) })
    keyspace.set("a", "kept", 0, noMeta, SetFlag.passed)
    keyspace.set("b", "v", 0, noMeta, SetFlag.passed)
    seen.length = 0
    expect([keyspace.delete("a"), keyspace.refusal]).toEqual([false, "it is kept"])
    expect([keyspace.delete("b"), keyspace.refusal]).toEqual([true, null])
    expect([keyspace.delete("none"), keyspace.refusal]).toEqual([false, null])
    expect(seen).toEqual(["delete a?", "settled", "delete b?", "delete b", "settled"])
    expect(keyspace.stats).toMatchObject({ deletes: 1, rejected: 1 })
  })

  it("is not asked for invalidations, expiries, evictions and flushes, nor for what has passed", () => {
    const { keyspace, clock, seen } = gated({ beforeDelete: () => "no" }, "*", { maxEntries: 2 })
    const set = (key: string, expiresAtMs = 0) => keyspace.set(key, "v", expiresAtMs, noMeta, SetFlag.passed)
    set("a")
    expect(keyspace.delete("a", Cause.invalidate)).toBe(true)
    set("b")
    expect(keyspace.delete("b", Cause.delete, true)).toBe(true)
    set("c", startMs + 1)
    clock.atMs += 1
    expect([keyspace.delete("c"), keyspace.refusal]).toEqual([false, null])
    set("d", clock.atMs + 1)
    keyspace.expireAt("d", 1)
    for (const key of ["e", "f", "g"]) set(key)
    keyspace.flush()
    expect(seen.filter((each) => each.endsWith("?"))).toEqual([])
    expect(keyspace.size).toBe(0)
  })

  it("may delete or expire the entry itself: then there is nothing left to delete", () => {
    const { keyspace, seen } = gated({
      beforeDelete: (entry, inside) => {
        inside.delete(entry.key, Cause.delete, true)
        return null
      }
    })
    keyspace.set("k", "v", 0, noMeta, SetFlag.passed)
    seen.length = 0
    expect(keyspace.delete("k")).toBe(false)
    expect(seen).toEqual(["delete k?", "delete k", "settled"])
  })
})

describe("asking without doing", () => {
  it("answers the write as it would be, or why not, and changes nothing", () => {
    const { keyspace, seen } = gated({
      beforeWrite: (write) => {
        write.value = "rewritten"
        return write.key === "no" ? "not this one" : null
      },
      beforeDelete: () => "stays"
    })
    keyspace.set("k", "old", startMs + 50, meta, SetFlag.passed)
    seen.length = 0
    const { version } = keyspace
    const flags = SetFlag.keepTtl | SetFlag.keepMeta
    expect(keyspace.gateWrite("k", "v", 0, noMeta, flags)).toMatchObject({
      key: "k",
      value: "rewritten",
      expiresAtMs: startMs + 50,
      meta,
      keepsTtl: true
    })
    expect(keyspace.gateWrite("no", "v")).toBe("not this one")
    expect([keyspace.gateDelete("k"), keyspace.gateDelete("none")]).toEqual(["stays", null])
    expect([keyspace.version, keyspace.peek("k")?.value, keyspace.size]).toEqual([version, "old", 1])
    expect(seen).toEqual(["write k?", "settled", "write no?", "settled", "delete k?", "settled"])
    expect(keyspace.stats.rejected).toBe(2)
  })

  it("gives each its own answer, to be done when all have passed", () => {
    const { keyspace } = gated({
      beforeWrite: (write) => {
        write.value = `${write.value}!`
        return null
      }
    })
    const writes = ["a", "b"].map((key) => keyspace.gateWrite(key, key) as PendingWrite)
    for (const { key, value, expiresAtMs, meta: attached } of writes) {
      keyspace.set(key, value, expiresAtMs, attached, SetFlag.passed)
    }
    expect(["a", "b"].map((key) => keyspace.peek(key)?.value)).toEqual(["a!", "b!"])
  })

  it("passes where nobody wants to be asked, and without a gate", () => {
    const { keyspace, seen } = gated({ beforeWrite: () => "no", beforeDelete: () => "no" }, "session:*")
    expect(keyspace.gateWrite("other", "v", startMs + 1, meta)).toMatchObject({
      value: "v",
      expiresAtMs: startMs + 1,
      meta
    })
    keyspace.set("other", "v")
    expect(keyspace.gateDelete("other")).toBeNull()
    expect(seen).toEqual(["write other", "settled"])
    const open = new Keyspace({
      ...{ maxEntries: 1, maxBytes: 1_000, clock: { nowMs: () => 0 } },
      ...{ sink: { onEvent() {}, onSettled() {} }, wake() {} }
    })
    const mask = causeBit(Cause.beforeWrite) | causeBit(Cause.beforeDelete)
    open.trie.add({ pattern: parsePattern("*") as Pattern, mask, priority: 0 })
    expect([open.set("k", "v"), open.delete("k"), open.refusal]).toEqual([true, true, null])
  })
})
