import { describe, expect, it } from "vitest"
import { EntryIndex, type Owner } from "../../src/coherence/EntryIndex.ts"
import { Entry, type Keyspace } from "../../src/kernel/Keyspace.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

interface Plain {
  readonly entry: Entry
  readonly hash: number
  readonly owner: Owner
  stamp: number
  writer: number
  sequence: number
  flags: number
}

const makeEntry = (): Entry => new Entry("k", "v", noMeta, 0, 1, false, 1, 0)

/** Few hashes, and several of them at home in the same place of the table: collisions of both kinds. */
const hashOf = (random: Random): number => 1 + random.below(6) + 2 ** random.pick([11, 20, 40]) * random.below(4)

const rowsOf = (index: EntryIndex, hash: number): number[] => {
  const rows: number[] = []
  for (let row = index.find(hash); row !== 0; row = index.findNext(row)) rows.push(row)
  return rows.sort((a, b) => a - b)
}

const expectSame = (index: EntryIndex, model: ReadonlySet<Plain>): void => {
  index.checkInvariants()
  expect(index.size).toBe(model.size)
  const seen = [...model].map(({ entry }) => {
    const row = entry.handle
    const [hash, stamp, writer] = [index.hashAt(row), index.stampAt(row), index.writerAt(row)]
    const [sequence, flags] = [index.sequenceAt(row), index.flagsAt(row)]
    return { entry: index.entryAt(row), hash, owner: index.ownerAt(row), stamp, writer, sequence, flags }
  })
  const isSame = [...model].every((plain, i) =>
    Object.entries(seen[i] ?? {}).every(([name, cell]) => plain[name as keyof Plain] === cell)
  )
  if (!isSame) expect(seen).toEqual([...model])
  const hashes = [...new Set([...model].map(({ hash }) => hash))]
  const rows = hashes.map((hash) => [...model].filter((plain) => plain.hash === hash).map(({ entry }) => entry.handle))
  expect(hashes.map((hash) => rowsOf(index, hash))).toEqual(rows.map((some) => some.sort((a, b) => a - b)))
}

describe("an index of entries", () => {
  it(
    "is what a plain set is, whatever comes and goes, with several entries of one hash",
    async () => {
      await forAllSeeds(60, (random) => {
        const index = new EntryIndex()
        let owners = [0, 1, 2].map((name) => index.addOwner({ name } as unknown as Keyspace))
        const model = new Set<Plain>()
        for (let step = 0; step < 80; step++) {
          const owner = random.pick(owners)
          const some = random.pick([...model])
          const [stamp, writer] = [random.below(2 ** 40), random.below(2 ** 50)]
          const [sequence, flags] = [random.below(2 ** 45), random.pick([0, 0x80])]
          const what = random.below(20)
          if (what < 10 || some === undefined) {
            const plain = { entry: makeEntry(), hash: hashOf(random), owner, stamp, writer, sequence, flags }
            index.add(plain.entry, owner, plain.hash, stamp, writer, sequence, flags)
            model.add(plain)
          } else if (what < 15) {
            index.remove(some.entry.handle)
            expect(some.entry.handle).toBe(0)
            model.delete(some)
          } else if (what < 19) {
            index.write(some.entry.handle, stamp, writer, sequence, flags)
            Object.assign(some, { stamp, writer, sequence, flags })
          } else {
            const livesOn = random.oneIn(2)
            if (!livesOn) index.removeAllOf(owner)
            else {
              index.removeOwner(owner)
              owners = [...owners.filter((other) => other !== owner), index.addOwner({} as Keyspace)]
            }
            for (const plain of [...model]) {
              if (plain.owner !== owner) continue
              if (livesOn) expect(plain.entry.handle).toBe(0)
              model.delete(plain)
            }
          }
          expectSame(index, model)
        }
      })
    },
    propertyTimeoutMs
  )

  it("grows past its first rows without losing one, and gives the memory back once it is empty", () => {
    const index = new EntryIndex()
    const owner = index.addOwner({} as Keyspace)
    const entries = Array.from({ length: 5_000 }, makeEntry)
    const first = index.rows.capacity
    entries.forEach((entry, i) => {
      index.add(entry, owner, 7 * i + 1, i + 1, 9, 0, 0)
    })
    index.checkInvariants()
    expect(index.rows.capacity).toBe(8_192)
    entries.forEach((entry, i) => {
      expect(index.find(7 * i + 1)).toBe(entry.handle)
      expect(index.stampAt(entry.handle)).toBe(i + 1)
    })
    index.removeAllOf(owner)
    index.checkInvariants()
    expect(index.rows.capacity).toBe(first)
    expect(index.find(8)).toBe(0)
  })

  it("visits every row once, and none that has gone", () => {
    const index = new EntryIndex()
    const owner = index.addOwner({} as Keyspace)
    const entries = Array.from({ length: 10 }, makeEntry)
    entries.forEach((entry, i) => {
      index.add(entry, owner, i + 1, 1, 1, 0, 0)
    })
    index.remove((entries[3] as Entry).handle)
    const hashes: number[] = []
    index.visit((row) => hashes.push(index.hashAt(row)))
    expect(hashes.sort((a, b) => a - b)).toEqual([1, 2, 3, 5, 6, 7, 8, 9, 10])
  })
})
