/** The log against the plain list of the last records, with rings so small that chains of several authors cross. */
import { describe, expect, it } from "vitest"
import type { LogRecord } from "../../../src/coherence/protocol/Frame.ts"
import { ReceivedLog } from "../../../src/coherence/protocol/ReceivedLog.ts"
import { forAllSeeds, propertyTimeoutMs } from "../../support/Random.ts"

interface Kept extends LogRecord {
  readonly author: number
  readonly sequence: number
}

describe("ReceivedLog", () => {
  it("finds each of the last records and no other", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(500, (random) => {
      const size = 2 ** random.below(5)
      const log = new ReceivedLog(size)
      const authors = Array.from({ length: random.between(1, 4) }, () =>
        random.oneIn(2) ? random.between(1, 4) : random.between(1, 2 ** 53 - 1)
      )
      const kept: Kept[] = []
      const seen = new Set<string>()
      for (let step = 0; step < 60; step++) {
        const [author, sequence] = [random.pick(authors), random.between(1, 40)]
        const [op, flags] = [random.between(1, 5), random.pick([0, 0x40, 0x80, 0xc0])]
        const [hash, version] = [random.below(2 ** 53), random.below(2 ** 48)]
        if (!seen.has(`${author} ${sequence}`)) {
          seen.add(`${author} ${sequence}`)
          log.append(author, sequence, op, hash, version, flags)
          kept.push({ author, sequence, op, flags, hash, version })
          if (kept.length > size) kept.shift()
        }
        const [of, first] = [random.pick(authors), random.between(1, 40)]
        const last = first + random.between(-1, 8)
        expect(log.range(of, first, last)).toEqual(rangeOf(kept, of, first, last))
        const above = kept.filter((each) => each.author === of && each.sequence > first).map(({ sequence }) => sequence)
        expect(log.oldestAbove(of, first)).toBe(above.length === 0 ? 0 : Math.min(...above))
      }
      for (const { author, sequence } of kept) expect(log.range(author, sequence, sequence)).toHaveLength(1)
    })
  })

  it("keeps the tail of one author while another one writes, up to its size", () => {
    const log = new ReceivedLog(64)
    for (let sequence = 1; sequence <= 32; sequence++) log.append(7, sequence, 1, sequence, sequence, 0)
    for (let sequence = 1; sequence <= 40; sequence++) log.append(8, sequence, 1, sequence, sequence, 0)
    expect(log.range(7, 8, 32)).toBeUndefined()
    expect(log.range(7, 9, 32)?.map(({ version }) => version)).toEqual(Array.from({ length: 24 }, (_, i) => i + 9))
  })

  it("asks for a size that is a power of two", () => {
    expect(() => new ReceivedLog(12)).toThrow("receivedSize is 12; use a power of two from 1 to 2^30")
  })
})

const rangeOf = (kept: readonly Kept[], author: number, first: number, last: number): LogRecord[] | undefined => {
  const records: LogRecord[] = []
  for (let sequence = first; sequence <= last; sequence++) {
    const found = kept.find((each) => each.author === author && each.sequence === sequence)
    if (found === undefined) break
    const { op, flags, hash, version } = found
    records.push({ op, flags, hash, version })
  }
  return records.length === 0 ? undefined : records
}
