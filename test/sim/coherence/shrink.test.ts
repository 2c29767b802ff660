import { describe, expect, it } from "vitest"
import { forAllSeeds } from "../../support/Random.ts"
import { shrink } from "./shrink.ts"

const numbers = Array.from({ length: 50 }, (_, index) => index)

describe("shrink", () => {
  it("finds the only steps that matter, in their order", () => {
    const fails = (steps: readonly number[]) => [7, 23, 41].every((each) => steps.includes(each))
    expect(shrink(numbers, fails)).toEqual([7, 23, 41])
  })

  it("keeps one of several ways to fail", () => {
    const fails = (steps: readonly number[]) => steps.includes(3) || steps.includes(30)
    expect(shrink(numbers, fails)).toHaveLength(1)
  })

  it("gives up after as many tries as it was given, with something that still fails", () => {
    const fails = (steps: readonly number[]) => steps.includes(0) && steps.includes(49)
    const some = shrink(numbers, fails, 5)
    expect(fails(some)).toBe(true)
    expect(some.length).toBeGreaterThan(2)
  })

  it("leaves nothing that could be left out (model)", () =>
    forAllSeeds(100, (random) => {
      const needed = numbers.filter(() => random.oneIn(10))
      const fails = (steps: readonly number[]) => needed.every((each) => steps.includes(each))
      expect(shrink(numbers, fails)).toEqual(needed)
    }))
})
