/** Values that may not be kept and are lent for one step: over entries, fills and peers that the tests hold. */
import { describe, expect, it } from "vitest"
import { Fills, Loans } from "../../src/cache/index.ts"
import { Op, RecordFlag } from "../../src/coherence/protocol/Frame.ts"
import { noMeta, SetFlag } from "../../src/kernel/index.ts"
import { ground } from "./Ground.ts"

const peer = 77

/** An instance that keeps no copies now; what peers have is answered when the test lets it go. */
const bypassing = (writer = peer) => {
  const { entries, instance, clock, share, told, hashOf } = ground()
  const shared = share()
  instance.copyMsMax = 0
  const values = new Map<string, string>()
  const held: Array<() => void> = []
  let asked = 0
  const fills = new Fills({ nowMs: clock.nowMs })
  fills.listen({
    mayHave: () => true,
    fetch: async (_keyspace, key, lease) => {
      asked++
      const value = values.get(key)
      await new Promise<void>((resolve) => held.push(resolve))
      if (value === undefined) return undefined
      lease.stamp = 41
      lease.writer = writer
      return { value, meta: noMeta, expiresAtMs: clock.atMs + 1_000 }
    },
    lend: (lease, fetched) => entries.lend(lease, fetched)
  })
  const letGo = async (): Promise<void> => {
    for (const go of held.splice(0)) go()
    await new Promise(setImmediate)
  }
  const checkInvariants = (): void => {
    shared.keyspace.checkInvariants()
    entries.checkInvariants()
    fills.checkInvariants()
    expect((entries as unknown as { leases: Map<number, unknown> }).leases.size).toBe(0)
  }
  return {
    ...shared,
    entries,
    instance,
    clock,
    told,
    hashOf,
    values,
    fills,
    letGo,
    checkInvariants,
    asked: () => asked
  }
}

describe("a value that may not be kept", () => {
  it("is here in the step that it was brought for, with its deadline, and in no other", async () => {
    const { keyspace, values, fills, letGo, clock, told, heard, checkInvariants } = bypassing()
    values.set("k", "v")
    const loans = new Loans()
    const brought = fills.borrow(loans, keyspace, "k")
    await letGo()
    expect([await brought, keyspace.peek("k")]).toEqual(["v", undefined])
    expect(loans.use(() => [keyspace.get("k"), keyspace.peek("k")?.expiresAtMs])).toEqual(["v", clock.atMs + 1_000])
    expect(keyspace.peek("k")).toBeUndefined()
    expect([keyspace.size, told("k"), heard()]).toEqual([0, [], ["fill k", "read k"]])
    checkInvariants()
  })

  it("is here until what the step promises is done", async () => {
    const { keyspace, values, fills, letGo, checkInvariants } = bypassing()
    values.set("k", "v")
    const loans = new Loans()
    const brought = fills.borrow(loans, keyspace, "k")
    await letGo()
    await brought
    let end: () => void = () => {}
    const used = loans.use(() => new Promise<void>((resolve) => (end = resolve)))
    expect(keyspace.peek("k")?.value).toBe("v")
    end()
    await used
    expect(keyspace.peek("k")).toBeUndefined()
    checkInvariants()
  })

  it("goes where the step throws, and where nobody uses it", async () => {
    const { keyspace, values, fills, letGo, checkInvariants } = bypassing()
    values.set("k", "v")
    const [used, dropped] = [new Loans(), new Loans()]
    const brought = [fills.borrow(used, keyspace, "k"), fills.borrow(dropped, keyspace, "k")]
    await letGo()
    await Promise.all(brought)
    const broken = () => {
      throw new Error("broken")
    }
    expect(() => used.use(broken)).toThrow("broken")
    dropped.drop()
    expect(keyspace.peek("k")).toBeUndefined()
    checkInvariants()
  })

  it("stays as this instance's own where the step has written it, or given it another deadline", async () => {
    const { keyspace, values, fills, letGo, clock, told, instance, checkInvariants } = bypassing()
    for (const key of ["written", "expiring", "local"]) values.set(key, "v")
    const loans = new Loans()
    const brought = ["written", "expiring", "local"].map((key) => fills.borrow(loans, keyspace, key))
    await letGo()
    await Promise.all(brought)
    loans.use(() => {
      keyspace.set("written", "w", 0, noMeta, SetFlag.keepTtl)
      keyspace.expireAt("expiring", clock.atMs + 5)
      keyspace.set("local", "l", 0, noMeta, SetFlag.local)
    })
    expect(keyspace.peek("written")).toMatchObject({ value: "w", expiresAtMs: clock.atMs + 1_000 })
    expect(keyspace.peek("expiring")?.expiresAtMs).toBe(clock.atMs + 5)
    expect(keyspace.peek("local")?.isLocal).toBe(true)
    expect(told("written", "expiring", "local")).toEqual(["key written", "key expiring", "gone local"])
    expect(instance.records.every(({ version }) => version > 41)).toBe(true)
    checkInvariants()
  })

  it("is told of as gone where the step deletes it", async () => {
    const { keyspace, values, fills, letGo, told, heard, checkInvariants } = bypassing()
    values.set("k", "v")
    const loans = new Loans()
    const brought = fills.borrow(loans, keyspace, "k")
    await letGo()
    await brought
    expect(loans.use(() => keyspace.delete("k"))).toBe(true)
    expect([told("k"), heard()]).toEqual([["gone k"], ["fill k", "delete k"]])
    checkInvariants()
  })

  it("serves all who have waited for it, each in a step of its own, by one question", async () => {
    const { keyspace, values, fills, letGo, asked, checkInvariants } = bypassing()
    values.set("k", "v")
    const read = async (): Promise<unknown> => {
      const loans = new Loans()
      await fills.borrow(loans, keyspace, "k")
      return loans.use(() => keyspace.get("k"))
    }
    const reads = [read(), read(), read()]
    await letGo()
    expect(await Promise.all(reads)).toEqual(["v", "v", "v"])
    expect([asked(), keyspace.peek("k")]).toEqual([1, undefined])
    checkInvariants()
  })

  it("is lent once to a step that names it twice", async () => {
    const { keyspace, values, fills, letGo, heard, checkInvariants } = bypassing()
    values.set("k", "v")
    const loans = new Loans()
    const brought = [fills.borrow(loans, keyspace, "k"), fills.borrow(loans, keyspace, "k")]
    await letGo()
    await Promise.all(brought)
    expect(loans.use(() => [keyspace.get("k"), keyspace.get("k")])).toEqual(["v", "v"])
    expect([keyspace.peek("k"), heard()]).toEqual([undefined, ["fill k", "read k", "read k"]])
    checkInvariants()
  })

  it("is not lent any more once its key was changed, here or elsewhere (law 11)", async () => {
    for (const change of ["delete", "set", "record", "prefix", "flush"] as const) {
      const { keyspace, values, fills, letGo, entries, hashOf, checkInvariants } = bypassing()
      values.set("p:k", "old")
      const loans = new Loans()
      const brought = fills.borrow(loans, keyspace, "p:k")
      await letGo()
      await brought
      if (change === "delete") keyspace.delete("p:k")
      else if (change === "set") keyspace.set("p:k", "new")
      else if (change === "record") entries.apply(Op.key, hashOf("p:k"), 99, peer, RecordFlag.gone)
      else if (change === "prefix") keyspace.invalidatePrefix("p:")
      else keyspace.flush()
      const found = loans.use(() => keyspace.get("p:k"))
      expect([change, found]).toEqual([change, change === "set" ? "new" : undefined])
      checkInvariants()
    }
  })

  it("is asked for again when it was changed on its way, a few times", async () => {
    const { keyspace, values, fills, letGo, entries, hashOf, asked, checkInvariants } = bypassing()
    values.set("k", "old").set("busy", "v")
    const writtenElsewhere = (key: string) => entries.apply(Op.key, hashOf(key), 50, peer, 0)
    const loans = new Loans()
    const brought = fills.borrow(loans, keyspace, "k")
    writtenElsewhere("k")
    values.set("k", "new")
    await letGo()
    await letGo()
    expect([await brought, asked()]).toEqual(["new", 2])
    expect(loans.use(() => keyspace.get("k"))).toBe("new")
    const other = new Loans()
    const busy = fills.borrow(other, keyspace, "busy")
    for (let tries = 0; tries < 3; tries++) {
      writtenElsewhere("busy")
      await letGo()
    }
    expect([await busy, asked()]).toEqual(["v", 5])
    expect(other.use(() => keyspace.get("busy"))).toBeUndefined()
    checkInvariants()
  })

  it("that this instance wrote and evicted can be had again and again", async () => {
    const { keyspace, values, fills, letGo, entries, hashOf, checkInvariants } = bypassing(1)
    values.set("k", "v")
    for (let round = 0; round < 2; round++) {
      const loans = new Loans()
      const brought = fills.borrow(loans, keyspace, "k")
      await letGo()
      await brought
      expect(loans.use(() => keyspace.get("k"))).toBe("v")
      // Whom a miss asks: nobody would be asked for what is known to have been written here.
      expect(entries.authorOf(hashOf("k"))).toBeUndefined()
    }
    checkInvariants()
  })

  it("is lent up to a quarter of the keyspace's bytes and entries for one step, and one value in any case", async () => {
    for (const [maxEntries, maxBytes, lent] of [
      [1_000, 12_000, ["a", "b"]], // of 1.4 KB each
      [8, 1_000_000, ["a", "b"]],
      [1, 1_500, ["a"]]
    ] as const) {
      const { keyspace, values, fills, letGo } = bypassing()
      keyspace.limit(maxEntries, maxBytes)
      const keys = ["a", "b", "c", "d"]
      for (const key of keys) values.set(key, "x".repeat(1_000))
      const loans = new Loans()
      const brought = keys.map((key) => fills.borrow(loans, keyspace, key))
      await letGo()
      await Promise.all(brought)
      expect(loans.use(() => keys.filter((key) => keyspace.peek(key) !== undefined))).toEqual(lent)
      expect(keyspace.size).toBe(0)
      keyspace.checkInvariants()
    }
  })

  it("of a tier or a load is lent as well", async () => {
    const { keyspace, fills, letGo, checkInvariants } = bypassing()
    const load = { load: () => "loaded", ttlMs: 0, meta: noMeta, isLocal: false, timeoutMs: 1_000 }
    fills.register(keyspace, "*", load)
    const loans = new Loans()
    const brought = fills.borrow(loans, keyspace, "k")
    await letGo()
    expect(await brought).toBe("loaded")
    expect([loans.use(() => keyspace.get("k")), keyspace.peek("k")]).toEqual(["loaded", undefined])
    checkInvariants()
  })
})
