import { describe, expect, it } from "vitest"
import { allCauses, allInterests, Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"

describe("Cause", () => {
  it("has its own word at its own number", () => {
    expect(Object.entries(Cause).map(([name, cause]) => causeNames[cause] === name)).not.toContain(false)
    expect(Object.keys(Cause)).toHaveLength(causeNames.length)
  })

  it("has one bit each, and those of events make the mask of the whole log", () => {
    const bits = Object.values(Cause).map(causeBit)
    expect(new Set(bits).size).toBe(causeNames.length)
    expect(bits.reduce((all, bit) => all | bit, 0)).toBe(allInterests)
    const interests = [Cause.beforeWrite, Cause.beforeDelete, Cause.flushKey].map(causeBit)
    expect(interests.reduce((all, bit) => all | bit, allCauses)).toBe(allInterests)
    expect(interests.filter((bit) => (bit & allCauses) !== 0)).toEqual([])
    expect(bits.filter((bit) => (bit & (bit - 1)) !== 0)).toEqual([])
  })
})
