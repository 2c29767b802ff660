import { describe, expect, it } from "vitest"
import { encodeValue } from "../../src/cache/ValueCodec.ts"
import { decodeBackup, encodeBackup } from "../../src/coherence/BackupMessage.ts"
import { expiryId } from "../../src/coherence/Backups.ts"
import { SetFlag } from "../../src/kernel/index.ts"
import { type House, Town } from "./BackupTown.ts"

const settled = (hosts: number, options = {}): [Town, House, House, House] => {
  const town = new Town(hosts, 1, {}, options)
  return [town, ...(town.settle() as [House, House, House])]
}

/** Who holds the expiry of this key for another. */
const holderOf = (houses: readonly House[], writer: House): House => {
  const holder = houses.find(({ backups }) => backups.held > 0)
  if (holder === undefined || holder === writer) throw new Error("somebody else holds it")
  return holder
}

describe("an expiry that others may tell of", () => {
  it("is told by the writer alone while that lives, and nobody holds it any longer", () => {
    const [town, a, b, c] = settled(3)
    const id = a.set("k", "v", 1_000)
    town.run(500)
    expect(b.backups.held + c.backups.held).toBe(1)
    town.run(1_500)
    expect(town.told).toMatchObject([{ by: "a", key: "k", value: "v", id, lateMs: 0 }])
    expect(b.backups.held + c.backups.held).toBe(0)
    town.run(120_000)
    expect(town.told.length).toBe(1)
  })

  it("is told by one backup at the deadline when the writer was killed, with the id, the value and its metadata", () => {
    const [town, a, b, c] = settled(3)
    const meta = { metadata: { user: 7 }, tags: ["t"], cost: 2 }
    const id = a.set("k", "v", 5_000, meta)
    town.run(50)
    const backup = holderOf([b, c], a)
    a.kill()
    town.run(4_900)
    expect(town.told).toEqual([])
    town.run(10_000)
    expect(town.told).toEqual([{ by: backup.name, key: "k", value: "v", id, atMs: 7_002, lateMs: 1, meta }])
    expect(id).toBe(expiryId(a.peer.origin, 1))
    expect(b.keyspace.size + c.keyspace.size).toBe(0)
  })

  it("is told late when the writer was killed before the deadline and found to be gone after it", () => {
    const [town, a] = settled(3)
    const id = a.set("k", "v", 100)
    town.run(50)
    a.kill(true)
    town.run(10_000)
    expect(town.told).toEqual([])
    for (const house of town.all.values()) house.take(() => house.instance.forget(a.peer.origin))
    town.run(1_000)
    expect(town.told).toMatchObject([{ key: "k", id }])
    expect(town.told[0]?.lateMs).toBeGreaterThan(9_900)
  })

  it("is not told a second time when the writer is killed after it has told", () => {
    const [town, a] = settled(3)
    a.set("k", "v", 100)
    town.run(400)
    a.kill()
    town.run(10_000)
    expect(town.heard()).toEqual(["k by a"])
  })

  it("is told twice, with one id, when the writer is killed before anybody could know that it has told", () => {
    const [town, a] = settled(3)
    const id = a.set("k", "v", 100)
    town.run(100)
    a.kill()
    town.run(10_000)
    expect(town.told.map((told) => told.id)).toEqual([id, id])
    expect(new Set(town.told.map(({ by }) => by)).size).toBe(2)
  })

  it("is handed over in the turn of the write when the writer leaves", () => {
    const [town, a] = settled(3)
    for (let i = 0; i < 10; i++) a.set(`k${i}`, "v".repeat(100_000), 1_000)
    a.leave()
    town.run(10_000)
    expect(
      town
        .heard()
        .map((line) => line.slice(0, 2))
        .sort()
    ).toEqual(Array.from({ length: 10 }, (_, i) => `k${i}`))
  })

  it("is told of each keyspace in the keyspace of that head, and nowhere where there is none", () => {
    const town = new Town(2)
    const [a, b] = [town.start(0, ["", "t:", "u:"]), town.start(1, ["", "t:"])]
    town.run(2_000)
    for (const keyspace of a.keyspaces.values()) keyspace.set("k", "v", a.wallMs() + 500, undefined, SetFlag.cluster)
    town.run(50)
    a.kill()
    town.run(5_000)
    expect(town.heard().sort()).toEqual(["k by b", "t:k by b"])
    expect(b.backups.stats).toMatchObject({ told: 2, void: 1 })
  })
})

describe("what nobody tells of in the writer's place", () => {
  const afterwards = (change: (town: Town, a: House, b: House, c: House) => void): string[] => {
    const [town, a, b, c] = settled(3)
    a.set("k:1", "v", 2_000, { metadata: null, tags: ["red"], cost: 0 })
    town.run(500)
    change(town, a, b, c)
    town.run(100)
    expect(a.backups.size === 0 || a.isAlive).toBe(true)
    a.kill()
    town.run(10_000)
    return town.heard()
  }
  const byTheBackup = [expect.stringMatching(/^k:1 by [bc]$/)]

  it("is told when nothing happens to it", () => {
    expect(afterwards(() => {})).toEqual(byTheBackup)
  })

  it("is what was written again without asking for it, here or elsewhere", () => {
    expect(afterwards((_, a) => void a.set("k:1", "w", 2_000, undefined, 0))).toEqual([])
    expect(afterwards((_, _a, b) => void b.set("k:1", "w", 0, undefined, 0))).toEqual([])
    expect(afterwards((_, _a, _b, c) => void c.set("k:1", "w", 0, undefined, 0))).toEqual([])
  })

  it("is what was deleted or invalidated, here or elsewhere, by key, tag, prefix or all at once", () => {
    expect(afterwards((_, a) => void a.keyspace.delete("k:1"))).toEqual([])
    expect(afterwards((_, _a, b) => void b.keyspace.delete("k:1"))).toEqual([])
    expect(afterwards((_, _a, _b, c) => void c.keyspace.invalidate("k:1"))).toEqual([])
    for (const at of [0, 1, 2]) {
      expect(afterwards((_, ...houses) => houses[at]?.keyspace.invalidateTags(["red"]))).toEqual([])
      expect(afterwards((_, ...houses) => void houses[at]?.keyspace.invalidatePrefix("k:"))).toEqual([])
      expect(afterwards((_, ...houses) => void houses[at]?.keyspace.flush())).toEqual([])
    }
    expect(afterwards((_, ...houses) => houses[1]?.keyspace.invalidateTags(["blue"]))).toEqual(byTheBackup)
  })

  it("is what has no deadline any more, has become local, or was evicted", () => {
    expect(afterwards((_, a) => void a.expire("k:1", 0))).toEqual([])
    expect(afterwards((_, a) => void a.set("k:1", "w", 2_000, undefined, SetFlag.local))).toEqual([])
    expect(afterwards((_, a) => a.keyspace.limit(1, 300))).toEqual([])
  })

  it("is told at the new deadline where that has changed, or a write has kept it", () => {
    const [town, a] = settled(3)
    const first = a.set("later", "v", 1_000)
    a.set("kept", "v", 1_000)
    a.set("sooner", "v", 60_000)
    town.run(100)
    a.expire("later", 4_000)
    a.expire("sooner", 900)
    a.keyspace.set("kept", "w", 0, undefined, SetFlag.keepTtl)
    town.run(100)
    a.kill()
    town.run(2_500)
    expect(town.told.map(({ key, value }) => `${key} ${value}`).sort()).toEqual(["kept w", "sooner v"])
    town.run(5_000)
    expect(town.told.length).toBe(3)
    expect(town.told[2]).toMatchObject({ key: "later", value: "v" })
    expect(town.told[2]?.id).not.toBe(first)
  })
})

describe("who tells of it", () => {
  it("is another one when the backup ends while the writer lives", () => {
    const [town, a, b, c] = settled(3)
    const id = a.set("k", "v", 5_000)
    town.run(50)
    const backup = holderOf([b, c], a)
    backup.kill()
    town.run(1_000)
    a.kill()
    town.run(10_000)
    expect(town.told).toMatchObject([{ by: backup === b ? "c" : "b", id }])
  })

  it("is the next one when the backup ends after the writer, as in a rolling restart", () => {
    const [town, a, b, c] = settled(3)
    const id = a.set("k", "v", 30_000)
    town.run(50)
    const backup = holderOf([b, c], a)
    a.leave()
    town.run(2_000)
    const again = town.start(a.host)
    town.run(2_000)
    backup.leave()
    town.run(2_000)
    const last = [b, c].find((house) => house !== backup) as House
    last.leave()
    town.run(40_000)
    expect(town.told).toMatchObject([{ by: again.name, id }])
  })

  it("is nobody when writer and backup end at once", () => {
    const [town, a, b, c] = settled(3)
    a.set("k", "v", 5_000)
    town.run(50)
    const backup = holderOf([b, c], a)
    backup.kill()
    a.kill()
    town.run(20_000)
    expect(town.heard()).toEqual([])
  })

  it("moves with the members: each instance that comes takes its share, and what has moved is held once", () => {
    const town = new Town(6)
    const houses = [0, 1].map((host) => town.start(host))
    town.run(2_000)
    const [a] = houses as [House]
    for (let i = 0; i < 200; i++) a.set(`k${i}`, "v", 60_000)
    town.run(500)
    for (const host of [2, 3, 4, 5]) houses.push(town.start(host))
    town.run(3_000)
    const held = houses.map(({ backups }) => backups.held)
    expect(held[0]).toBe(0)
    expect(held.reduce((sum, count) => sum + count)).toBe(200)
    expect(Math.min(...held.slice(1))).toBeGreaterThan(20)
    a.kill()
    town.run(70_000)
    expect(town.told.length).toBe(200)
    expect(new Set(town.told.map(({ id }) => id)).size).toBe(200)
  })

  it("is the writer again when it was forgotten by mistake and is back before the deadline", () => {
    const [town, a, b] = settled(2)
    a.set("k", "v", 20_000)
    town.run(500)
    town.network.cut(a.host, b.host)
    town.network.cut(b.host, a.host)
    town.run(2_000)
    b.instance.forget(a.peer.origin)
    town.run(2_000)
    expect(b.backups.stats.takenOver).toBe(1)
    town.network.mend(a.host, b.host)
    town.network.mend(b.host, a.host)
    town.run(30_000)
    expect(town.heard()).toEqual(["k by a"])
    expect(b.backups.held).toBe(0)
  })

  it("waits for what the writer has written last, which somebody else has heard", () => {
    const [town, a, b, c] = settled(3)
    a.set("k", "v", 600)
    town.run(50)
    const backup = holderOf([b, c], a)
    town.network.cut(a.host, backup.host)
    a.keyspace.delete("k")
    town.run(20)
    a.kill()
    town.network.mend(a.host, backup.host)
    town.run(10_000)
    expect(town.heard()).toEqual([])
  })
})

describe("the table of others' expiries", () => {
  it("refuses what there is no room for, which both sides count", () => {
    const [town, a, b] = settled(2, { itemsMax: 3 })
    for (let i = 0; i < 5; i++) a.set(`k${i}`, "v", 1_000)
    town.run(100)
    expect([b.backups.held, b.backups.stats.refused, a.backups.stats.unbacked]).toEqual([3, 2, 2])
    const [other, x, y] = settled(2, { bytesMax: 1_000 })
    x.set("small", "v", 1_000)
    x.set("large", "v".repeat(1_000), 1_000)
    other.run(100)
    expect([y.backups.held, y.backups.stats.refused, x.backups.stats.unbacked]).toEqual([1, 1, 1])
    expect(y.backups.heldBytes).toBeLessThan(1_000)
  })

  it("does not carry what is larger than a frame may be", () => {
    const [town, a, b] = settled(2, { valueBytesMax: 1_000 })
    a.set("large", "v".repeat(1_000), 1_000)
    town.run(100)
    expect([b.backups.held, a.backups.stats.unbacked]).toEqual([0, 1])
    town.run(1_000)
    expect(town.heard()).toEqual(["large by a"])
  })

  it("costs nothing where nobody asks", () => {
    const [town, a, b, c] = settled(3)
    for (let i = 0; i < 50; i++) a.set(`k${i}`, "v", 100, undefined, 0)
    town.run(1_000)
    for (const { backups } of [a, b, c]) expect([backups.size, backups.stats.batchesOut]).toEqual([0, 0])
    expect(a.backups.nextMs()).toBe(Number.POSITIVE_INFINITY)
  })
})

describe("what backups say to each other", () => {
  const put = {
    hash: 2 ** 52,
    writer: 7,
    version: 3,
    ttlMs: -1,
    head: "t\xe9:",
    key: "\xff\0k",
    payload: Buffer.of(1, 2)
  }

  it("is read as it was written", () => {
    const drops = [{ hash: 1, writer: 2, version: 3 }]
    const batch = { type: "batch", number: 9, isFirst: true, puts: [put], drops } as const
    expect(decodeBackup(encodeBackup(batch))).toEqual({ ...batch, puts: [{ ...put, payload: Uint8Array.of(1, 2) }] })
    const answer = { type: "answer", number: 9, refused: 2 } as const
    expect(decodeBackup(encodeBackup(answer))).toEqual(answer)
  })

  it("is nothing where it is anything else, and is counted", () => {
    const strange = [[2, 1], [0, 1], [1, -1, 0], [0, 1, true, [[1]], []], [0, 1, true, [], [["x", 1, 1]]], { a: 1 }, []]
    for (const value of strange) expect(decodeBackup(encodeValue(value as never))).toBe(undefined)
    const bytes = encodeBackup({ type: "batch", number: 9, isFirst: true, puts: [put], drops: [] })
    for (let end = 0; end < bytes.length; end++) expect(decodeBackup(bytes.subarray(0, end))).toBe(undefined)
    const [, a, b] = settled(2)
    a.instance.say("backup", b.peer.origin, Uint8Array.of(1, 2, 3))
    a.town.run(10)
    expect(b.backups.stats.malformed).toBe(1)
  })

  it("may grow at its ends", () => {
    const longer = encodeValue([0, 1, false, [[1, 2, 3, 4, "", "k", Uint8Array.of(1), "new"]], [], "new"])
    expect(decodeBackup(longer)).toMatchObject({ puts: [{ hash: 1, key: "k" }] })
  })
})
