import { describe, expect, it } from "vitest"
import { ReadEstimates } from "../../src/coherence/ReadEstimates.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

const horizonMs = 1_000

describe("the estimate of a key's reads", () => {
  it("is 0 for a key that was never taken away", () => {
    const estimates = new ReadEstimates(64, horizonMs)
    expect(estimates.chanceOf(7)).toBe(0)
    expect(estimates.estimateOf(7)).toBeUndefined()
    estimates.writtenElsewhere(7, 5)
    estimates.filled(7, false, 6)
    expect(estimates.left(7, 1)).toBeUndefined()
    expect(estimates.estimateOf(7)).toBeUndefined()
  })

  it("comes from the reads of the entry at its first invalidation, and is 0 where it is not known how long it was here", () => {
    const estimates = new ReadEstimates(64, horizonMs)
    expect(estimates.taken(7, 30, 10_000, 50_000)).toBeUndefined()
    expect(estimates.estimateOf(7)?.readsPerSecond).toBeCloseTo(3)
    expect(estimates.chanceOf(7)).toBeCloseTo(1 - Math.exp(-3))
    estimates.taken(8, 30, -1, 50_000)
    expect(estimates.chanceOf(8)).toBe(0)
  })

  it("rises with each read within the horizon after an invalidation, and falls with each write that nobody reads", () => {
    const estimates = new ReadEstimates(64, horizonMs)
    let nowMs = 1_000
    const chances: number[] = []
    estimates.taken(7, 0, 1_000, nowMs)
    for (let n = 0; n < 6; n++) {
      nowMs += 500
      estimates.filled(7, false, nowMs)
      nowMs += 500
      estimates.taken(7, 0, 500, nowMs)
      chances.push(estimates.chanceOf(7))
    }
    expect(chances).toEqual([...chances].sort((a, b) => a - b))
    expect(chances.at(-1)).toBeGreaterThan(0.75)
    for (let n = 0; n < 6; n++) {
      nowMs += 1_000
      estimates.writtenElsewhere(7, nowMs)
      const chance = estimates.chanceOf(7)
      expect(chance).toBeLessThan(chances.at(-1) as number)
      chances.push(chance)
    }
    expect(chances.at(-1)).toBeLessThan(0.25)
  })

  it("does not take a read after the horizon for one that came soon", () => {
    const estimates = new ReadEstimates(64, horizonMs)
    estimates.taken(7, 3, 1_000, 0)
    estimates.filled(7, false, horizonMs + 1)
    expect(estimates.estimateOf(7)).toMatchObject({ generations: 1, again: 0 })
    estimates.taken(7, 0, 1, 3_000)
    estimates.filled(7, false, 3_000 + horizonMs)
    expect(estimates.estimateOf(7)).toMatchObject({ again: 1 })
  })

  it("is low for a key that is written far more often than it is read, however often that is", () => {
    const estimates = new ReadEstimates(64, horizonMs)
    let nowMs = 0
    for (let n = 0; n < 50; n++) {
      estimates.taken(7, n % 10 === 0 ? 1 : 0, 10, nowMs) // ten reads a second, a hundred writes
      nowMs += 10
    }
    expect(estimates.estimateOf(7)?.readsPerSecond).toBeGreaterThan(1)
    expect(estimates.chanceOf(7)).toBeLessThan(0.3)
  })

  it("says of each warmed generation once whether it was read", () => {
    const estimates = new ReadEstimates(64, horizonMs)
    estimates.taken(7, 3, 1_000, 0)
    estimates.filled(7, true, 1)
    expect(estimates.taken(7, 2, 99, 100)).toBe(true)
    estimates.filled(7, true, 101)
    expect(estimates.taken(7, 0, 99, 200)).toBe(false)
    estimates.filled(7, true, 201)
    expect(estimates.left(7, 1)).toBe(true)
    expect(estimates.left(7, 1)).toBeUndefined()
    estimates.filled(7, false, 301)
    expect(estimates.taken(7, 1, 99, 400)).toBeUndefined()
  })

  it("keeps the keys that were touched last, of each set of four, and counts warmed ones that it forgets", () => {
    const estimates = new ReadEstimates(4, horizonMs)
    for (let hash = 1; hash <= 4; hash++) estimates.taken(hash, 1, 1_000, hash)
    estimates.filled(2, true, 5)
    estimates.taken(1, 1, 10, 6)
    estimates.taken(5, 1, 1_000, 7) // in the place of 2
    const known = [1, 2, 3, 4, 5].filter((hash) => estimates.estimateOf(hash) !== undefined)
    expect(known).toEqual([1, 3, 4, 5])
    expect(estimates.forgotten).toBe(1)
  })

  it("refuses a size that is no power of two", () => {
    expect(() => new ReadEstimates(6, horizonMs)).toThrow("6 is no power of two from 4")
    expect(() => new ReadEstimates(2, horizonMs)).toThrow(RangeError)
  })

  it(
    "is a chance whatever happens, at any time",
    async () => {
      await forAllSeeds(100, (random) => {
        const estimates = new ReadEstimates(16, horizonMs)
        let nowMs = 2 ** 32 - 50_000 + random.below(1_000)
        for (let step = 0; step < 300; step++) {
          nowMs += random.oneIn(3) ? 0 : random.below(3_000)
          const hash = 1 + random.below(40)
          switch (random.below(4)) {
            case 0:
              estimates.taken(hash, random.below(5), random.below(1_000) - 1, nowMs)
              break
            case 1:
              estimates.writtenElsewhere(hash, nowMs)
              break
            case 2:
              estimates.filled(hash, random.oneIn(2), nowMs)
              break
            default:
              estimates.left(hash, random.below(3))
          }
          const known = estimates.estimateOf(hash)
          if (known === undefined) continue
          expect(known.chance).toBeGreaterThanOrEqual(0)
          expect(known.chance).toBeLessThanOrEqual(1)
          expect(known.again).toBeLessThanOrEqual(known.generations + 1e-3)
        }
      })
    },
    propertyTimeoutMs
  )
})
