/** The log against everything that was ever written, with rings and tables so small that all of them overflow. */
import { describe, expect, it } from "vitest"
import { Op, RecordFlag } from "../../../src/coherence/protocol/Frame.ts"
import { OwnLog } from "../../../src/coherence/protocol/OwnLog.ts"
import { bucketOf } from "../../../src/kernel/index.ts"
import { forAllSeeds, propertyTimeoutMs } from "../../support/Random.ts"

describe("OwnLog", () => {
  it("answers as the list of all that was written does", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(400, (random) => {
      const [size, bucketCount] = [2 ** random.below(4), 2 ** random.below(5)]
      const wideMax = random.between(1, 8)
      const log = new OwnLog(size, bucketCount, wideMax)
      const all: Array<{ op: number; flags: number; hash: number; version: number }> = []
      for (let step = 0; step < 50; step++) {
        const flags = random.pick([0, RecordFlag.gone, RecordFlag.derived])
        const version = random.between(1, 2 ** 48 - 1)
        if (random.oneIn(4)) {
          const sequence = random.between(-1, all.length + 2)
          const record = sequence > all.length - size ? all[sequence - 1] : undefined
          expect(log.amend(sequence, version, flags)).toBe(record !== undefined)
          if (record !== undefined) Object.assign(record, { version, flags })
        } else {
          const op = random.oneIn(2) ? Op.key : random.between(Op.tag, Op.define)
          const hash = random.below(6) * 2 ** 40 + random.below(6)
          expect(log.append(op, hash, version, flags)).toBe(all.push({ op, flags, hash, version }))
        }
        expect([log.oldest, log.last]).toEqual([Math.max(1, all.length - size + 1), all.length])
        const [first, last] = [random.between(-1, all.length + 2), random.between(-1, all.length + 2)]
        const isThere = first >= log.oldest && first <= last && last <= log.last
        expect(log.read(first, last)).toEqual(isThere ? all.slice(first - 1, last) : undefined)

        const since = random.between(0, all.length)
        const after = all.slice(since)
        const moved = log.movedSince(since)
        expect([moved.since, moved.upTo, moved.bucketCount]).toEqual([since, all.length, bucketCount])
        const keys = after.filter(({ op }) => op === Op.key)
        expect(bucketsOf(moved.bitmap)).toEqual(new Set(keys.map(({ hash }) => hash % bucketCount)))
        const wide = new Map<string, { op: number; hash: number; sequence: number }>()
        for (const [i, { op, hash }] of after.entries()) {
          wide.delete(`${op} ${hash}`)
          if (op !== Op.key) wide.set(`${op} ${hash}`, { op, hash, sequence: since + i + 1 })
        }
        expect(moved.wide).toEqual(wide.size > wideMax ? null : [...wide.values()])
      }
    })
  })

  it("has nothing to read, and nothing moved, before the first record", () => {
    const log = new OwnLog(4, 8, 2)
    expect([log.oldest, log.last, log.read(1, 1), log.read(1, 0)]).toEqual([1, 0, undefined, undefined])
    expect(log.movedSince(0)).toEqual({ since: 0, upTo: 0, bucketCount: 8, bitmap: new Uint8Array(1), wide: [] })
  })

  it("takes operations that are one of Op, and leaves its sequence where it was at another", () => {
    const log = new OwnLog(4, 8, 2)
    expect(() => log.append(6, 1, 1, 0)).toThrow(new RangeError("operation 6 is none of 1, 2, 3, 4, 5"))
    expect(log.append(Op.key, 1, 1, 0)).toBe(1)
  })

  it.each([
    ["logSize", 3, 8],
    ["logSize", 0, 8],
    ["buckets", 4, 2 ** 31],
    ["buckets", 4, 1.5]
  ])("asks for a power of two: %s", (name, size, bucketCount) => {
    expect(() => new OwnLog(size, bucketCount, 2)).toThrow(
      `${name} is ${name === "logSize" ? size : bucketCount}; use a power of two`
    )
  })

  it("puts every hash into one of the buckets, by its lowest bits", () => {
    expect([0, 7, 8, 2 ** 53 - 1, 2 ** 32, 2 ** 31 + 5].map((hash) => bucketOf(hash, 8))).toEqual([0, 7, 0, 7, 0, 5])
    expect(bucketOf(2 ** 53 - 1, 1)).toBe(0)
  })
})

const bucketsOf = (bitmap: Uint8Array): Set<number> => {
  const buckets = new Set<number>()
  for (let bucket = 0; bucket < 8 * bitmap.length; bucket++) {
    if (((bitmap[bucket >> 3] as number) & (1 << (bucket & 7))) !== 0) buckets.add(bucket)
  }
  return buckets
}
