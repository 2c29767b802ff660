/**
 * That the simulation would notice: the protocol is built wrong in one place at a time, and some schedule of the first
 * 2,000 breaks an invariant. What it was found by is printed.
 */
import { describe, expect, it } from "vitest"
import { firstSeed, propertyTimeoutMs, Random } from "../../support/Random.ts"
import type { Broken } from "./Broken.ts"
import { moreMutations, mutations } from "./mutations.ts"
import { broken } from "./run.ts"
import { scheduleOf } from "./Schedule.ts"
import type { Parts } from "./SimInstance.ts"

const schedulesMax = 2_000

/** The first schedule that notices, and what. */
const foundIn = async (parts: Parts): Promise<{ schedule: number; found: Broken } | undefined> => {
  for (let schedule = 1; schedule <= schedulesMax; schedule++) {
    const found = broken(scheduleOf(new Random(firstSeed + schedule - 1)), parts)
    if (found !== undefined) return { schedule, found }
    if (schedule % 50 === 0) await new Promise(setImmediate)
  }
  return undefined
}

describe("The simulation finds a protocol in which", () => {
  for (const [name, parts] of Object.entries({ ...mutations, ...moreMutations })) {
    it(name, { timeout: propertyTimeoutMs }, async () => {
      const result = await foundIn(parts)
      expect(result).toBeDefined()
      expect(result?.found.invariant).not.toBe("defect")
      console.log(`${name}: schedule ${result?.schedule}, ${result?.found.message}`)
    })
  }
})
