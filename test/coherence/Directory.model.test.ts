import { describe, expect, it } from "vitest"
import { Directory } from "../../src/coherence/Directory.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

interface Plain {
  readonly hash: number
  readonly version: number
  readonly author: number
  readonly isGone: boolean
}

const isHigher = (a: Plain, b: Plain): boolean =>
  a.version > b.version || (a.version === b.version && a.author > b.author)

const found = (directory: Directory, hash: number): Plain | undefined => {
  const row = directory.find(hash)
  if (row === 0) return undefined
  const [version, author] = [directory.versionAt(row), directory.authorAt(row)]
  return { hash, version, author, isGone: directory.isGoneAt(row) }
}

const highestOf = (writes: readonly Plain[]): number => Math.max(0, ...writes.map(({ version }) => version))

describe("a directory of writes", () => {
  it(
    "knows the highest write of each of the last keys, and of the others that they may be forgotten",
    async () => {
      await forAllSeeds(100, (random) => {
        const [max, authorsMax] = [random.between(1, 12), random.between(1, 4)]
        const directory = new Directory(max, authorsMax)
        let model: Plain[] = [] // the oldest first
        const forgotten: Plain[] = []
        for (let step = 0; step < 60; step++) {
          const hash = 1 + random.below(8) + 2 ** random.pick([4, 11, 40]) * random.below(3)
          const write = { hash, version: random.between(1, 20), author: random.between(1, 6), isGone: random.oneIn(3) }
          directory.note(hash, write.version, write.author, write.isGone)
          const known = model.find((each) => each.hash === hash)
          if (known === undefined || isHigher(write, known)) {
            model = [...model.filter((each) => each !== known), write]
            if (model.length > max) forgotten.push(model.shift() as Plain)
          }
          directory.checkInvariants()
          expect(directory.size).toBe(model.length)
          expect(model.map((each) => found(directory, each.hash))).toEqual(model)
          const lost = forgotten.filter(({ hash }) => !model.some((each) => each.hash === hash))
          expect(lost.filter((each) => found(directory, each.hash) !== undefined)).toEqual([])
          const authors = [1, 2, 3, 4, 5, 6]
          const floors = authors.map((author) => directory.floorOf(author))
          const exact = authors.map((author) => highestOf(forgotten.filter((each) => each.author === author)))
          if (authorsMax >= new Set(forgotten.map(({ author }) => author)).size) expect(floors).toEqual(exact)
          const highest = highestOf(forgotten)
          const isBetween = floors.every((floor, i) => floor >= (exact[i] as number) && floor <= highest)
          expect(isBetween, `${floors} between ${exact} and ${highest}`).toBe(true)
        }
      })
    },
    propertyTimeoutMs
  )

  it("grows up to its limit and no further", () => {
    const directory = new Directory(3_000)
    for (let hash = 1; hash <= 10_000; hash++) directory.note(hash, hash, 1, false)
    directory.checkInvariants()
    expect(directory.size).toBe(3_000)
    expect(directory.find(7_000)).toBe(0)
    expect(found(directory, 7_001)).toEqual({ hash: 7_001, version: 7_001, author: 1, isGone: false })
    expect(directory.floorOf(1)).toBe(7_000)
  })

  it("keeps a key that is written again and again, though it came first", () => {
    const directory = new Directory(2)
    for (let version = 1; version < 10; version++) {
      directory.note(1, version, 1, false)
      directory.note(100 + version, version, 2, false)
    }
    expect(found(directory, 1)?.version).toBe(9)
    expect(directory.floorOf(1)).toBe(0)
  })

  it("takes a floor that somebody else has found", () => {
    const directory = new Directory(2)
    directory.raiseFloor(5, 10)
    directory.raiseFloor(5, 4)
    expect([directory.floorOf(5), directory.floorOf(6)]).toEqual([10, 0])
  })

  it("refuses to be without a place", () => {
    expect(() => new Directory(0)).toThrow("max is a whole number from 1; not 0")
  })
})
