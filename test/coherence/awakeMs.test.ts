import { describe, expect, it } from "vitest"
import { awakeMs } from "../../src/coherence/awakeMs.ts"

describe("awakeMs", () => {
  const clocks = () => {
    const at = { monotonic: 100, wall: 1_700_000_000_000 }
    const now = awakeMs(
      () => at.monotonic,
      () => at.wall
    )
    const pass = (monotonicMs: number, wallMs = monotonicMs) => {
      at.monotonic += monotonicMs
      at.wall += wallMs
      return now()
    }
    return pass
  }

  it("is the monotonic clock while the machine is awake, also where the wall clock drifts or is set back", () => {
    const pass = clocks()
    expect([pass(0), pass(50), pass(50, 0), pass(100, 900), pass(100, -3_600_000), pass(1)]).toEqual([
      100, 150, 200, 300, 400, 401
    ])
  })

  it("counts what it has slept", () => {
    const pass = clocks()
    expect([pass(10), pass(5, 3_600_005), pass(10), pass(0, 7_200_000)]).toEqual([
      110, 3_600_115, 3_600_125, 10_800_125
    ])
  })
})
