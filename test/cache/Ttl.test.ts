import { describe, expect, it } from "vitest"
import { ttlMsOf, ttlSecondsMax } from "../../src/cache/Ttl.ts"

describe("a TTL in seconds", () => {
  it("is whole milliseconds, rounded up, and at least one", () => {
    expect([1.5, 0.0011, 1e-9, 1].map(ttlMsOf)).toEqual([1500, 2, 1, 1000])
  })

  it("is not a millisecond longer because of how a fraction is written in binary", () => {
    expect(16.1 * 1000).toBeGreaterThan(16_100)
    expect(ttlMsOf(16.1)).toBe(16_100)
  })

  it("is none where it is not above zero, or beyond the largest", () => {
    expect([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 * ttlSecondsMax].map(ttlMsOf)).toEqual(
      Array(5).fill(undefined)
    )
    expect(ttlMsOf(ttlSecondsMax)).toBe(ttlSecondsMax * 1000)
  })
})
