import { describe, expect, it } from "vitest"
import { allCauses, Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"

describe("Cause", () => {
  it("has its own word at its own number", () => {
    expect(Object.entries(Cause).map(([name, cause]) => causeNames[cause] === name)).not.toContain(false)
    expect(Object.keys(Cause)).toHaveLength(causeNames.length)
  })

  it("has one bit each, and all of them make the mask of everything", () => {
    const bits = Object.values(Cause).map(causeBit)
    expect(new Set(bits).size).toBe(causeNames.length)
    expect(bits.reduce((all, bit) => all | bit, 0)).toBe(allCauses)
    expect(bits.filter((bit) => (bit & (bit - 1)) !== 0)).toEqual([])
  })
})
