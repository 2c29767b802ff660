/** Marks against plain sets of sequences, with so few intervals that most runs above a hole meet the limit. */
import { describe, expect, it } from "vitest"
import { Marks, type Span } from "../../../src/coherence/protocol/Marks.ts"
import { forAllSeeds, propertyTimeoutMs } from "../../support/Random.ts"

describe("Marks", () => {
  it("answers as a plain set of sequences does", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(300, (random) => {
      const [intervalsMax, baseline] = [random.between(0, 8), random.pick([0, 0, 5])]
      const marks = new Marks(intervalsMax, baseline)
      const plain = new PlainMarks(intervalsMax, baseline)
      const width = random.pick([20, 60]) // sequences ahead: a dense set and a sparse one
      for (let step = 0; step < 60; step++) {
        const near = Math.max(1, marks.contiguous - 3 + random.below(width))
        const before = marks.contiguous
        const kind = random.below(12)
        if (kind === 0) {
          marks.advertise(near)
          plain.advertised = Math.max(plain.advertised, near)
        } else if (kind === 1) {
          marks.cover(near)
          plain.cover(near)
        } else {
          const count = random.pick([0, 1, 1, 2, random.between(1, 12)])
          expect(sequencesOf(marks.receive(near, count))).toEqual(plain.receive(near, count))
        }
        marks.checkInvariants()
        expect(marks.contiguous).toBeGreaterThanOrEqual(before)
        expect([marks.contiguous, marks.highest, marks.advertised]).toEqual([
          plain.contiguous,
          plain.highest,
          plain.advertised
        ])
        expect(marks.refused).toBe(plain.refused)
        expect(marks.intervalCount).toBe(plain.runs)
        expect(sequencesOf(marks.missing(1_000))).toEqual(plain.missing)
        expect(marks.isWhole).toBe(plain.missing.length === 0)
        for (let sequence = 1; sequence < before + width; sequence++) {
          if (marks.has(sequence) !== plain.applied.has(sequence)) throw new Error(`is wrong about ${sequence}`)
        }
      }
    })
  })

  it("ends whole by pulling its lowest hole, however few intervals it has", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(300, (random) => {
      const marks = new Marks(random.between(0, 3))
      const applied: number[] = []
      const take = (first: number, count: number) => applied.push(...sequencesOf(marks.receive(first, count)))
      for (let i = 0; i < 30; i++) take(random.between(1, 200), random.between(1, 4))
      marks.advertise(200)
      for (let pulls = 0; !marks.isWhole; pulls++) {
        const [hole] = marks.missing(1)
        take((hole as Span).first, Math.min(5, (hole as Span).last - (hole as Span).first + 1))
        expect(pulls).toBeLessThan(200)
      }
      expect(marks.contiguous).toBe(marks.advertised)
      expect(applied.sort((a, b) => a - b)).toEqual(Array.from({ length: marks.advertised }, (_, i) => i + 1))
    })
  })

  it("names as many holes as it is asked for, the lowest first", () => {
    const marks = new Marks(8)
    for (const sequence of [3, 6, 7, 10]) marks.receive(sequence, 1)
    marks.advertise(12)
    expect(marks.missing(2)).toEqual([
      { first: 1, last: 2 },
      { first: 4, last: 5 }
    ])
    expect(marks.missing(9).slice(2)).toEqual([
      { first: 8, last: 9 },
      { first: 11, last: 12 }
    ])
    expect(marks.missing(0)).toEqual([])
  })

  it("answers a frame over several runs with what lies between them", () => {
    const marks = new Marks(8)
    for (const sequence of [3, 6]) marks.receive(sequence, 1)
    expect(marks.receive(2, 6)).toEqual([
      { first: 2, last: 2 },
      { first: 4, last: 5 },
      { first: 7, last: 7 }
    ])
    expect(marks.receive(1, 1)).toEqual([{ first: 1, last: 1 }])
    expect(marks.contiguous).toBe(7)
  })

  it("refuses what would begin a run too many, and takes it when a hole before it has closed", () => {
    const marks = new Marks(2)
    for (const sequence of [3, 5]) marks.receive(sequence, 1)
    expect(marks.receive(9, 3)).toEqual([])
    expect([marks.refused, marks.highest, marks.advertised]).toEqual([3, 5, 11])
    marks.receive(4, 1)
    expect(marks.receive(9, 3)).toEqual([{ first: 9, last: 11 }])
  })
})

const sequencesOf = (spans: readonly Span[]): number[] =>
  spans.flatMap(({ first, last }) => {
    if (last < first) throw new Error(`${first} to ${last} is no run`)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })

class PlainMarks {
  applied = new Set<number>()
  advertised: number
  refused = 0

  constructor(
    readonly intervalsMax: number,
    baseline: number
  ) {
    this.advertised = baseline
    this.cover(baseline)
  }

  get contiguous(): number {
    let last = 0
    while (this.applied.has(last + 1)) last++
    return last
  }

  get highest(): number {
    return Math.max(0, ...this.applied)
  }

  get runs(): number {
    return runsAbove(this.applied, this.contiguous)
  }

  get missing(): number[] {
    return Array.from({ length: this.advertised }, (_, i) => i + 1).filter((each) => !this.applied.has(each))
  }

  receive(first: number, count: number): number[] {
    const all = Array.from({ length: count }, (_, i) => first + i)
    this.advertised = Math.max(this.advertised, first + count - 1)
    const fresh = all.filter((each) => !this.applied.has(each))
    const together = new Set([...this.applied, ...all])
    if (runsAbove(together, this.contiguous) > this.intervalsMax && !together.has(this.contiguous + 1)) {
      if (runsAbove(together, this.contiguous) > this.runs) {
        this.refused += fresh.length
        return []
      }
    }
    this.applied = together
    return fresh
  }

  cover(upTo: number): void {
    this.advertised = Math.max(this.advertised, upTo)
    for (let sequence = 1; sequence <= upTo; sequence++) this.applied.add(sequence)
  }
}

const runsAbove = (sequences: ReadonlySet<number>, contiguous: number): number => {
  let runs = 0
  for (const each of sequences) if (each > contiguous + 1 && !sequences.has(each - 1)) runs++
  return runs
}
