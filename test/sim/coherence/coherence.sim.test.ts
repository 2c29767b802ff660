/**
 * The protocol in worlds of 2 to 12 instances, in one or two regions, with everything that goes wrong between and in
 * them: no invariant breaks, whatever the seed. A failure prints the shortest story that breaks the same one.
 */
import { describe, expect, it } from "vitest"
import { forAllSeeds, propertyTimeoutMs, Random } from "../../support/Random.ts"
import { broken, storyOf } from "./run.ts"
import { scheduleOf } from "./Schedule.ts"
import { World } from "./World.ts"

describe("Coherence in simulation", () => {
  it("breaks no invariant in 5,000 schedules", { timeout: propertyTimeoutMs }, () =>
    forAllSeeds(5_000, (random) => {
      if (broken(scheduleOf(random)) !== undefined) throw new Error(storyOf(random.seed))
    })
  )

  it("runs a schedule the same way each time", () => {
    const linesOf = () => {
      const world = new World(scheduleOf(new Random(7)), {}, true)
      broken(world.schedule, {}, world)
      return world.lines
    }
    const lines = linesOf()
    expect(lines.length).toBeGreaterThan(20)
    expect(linesOf()).toEqual(lines)
  })

  it("draws worlds with each kind of trouble, with and without a database, of up to 12 instances and 2 regions", () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= 300; seed++) {
      const { hosts, steps, hasDatabase, parameters } = scheduleOf(new Random(seed))
      for (const step of steps) seen.add(step.what)
      seen.add(`${hosts.length} hosts`)
      seen.add(hasDatabase ? "database" : "no database")
      if (hosts.some((host) => host.region === 1)) seen.add("regions")
      if (parameters.cellMax < hosts.length) seen.add("groups")
    }
    const kinds = ["get", "set", "update", "delete", "invalidate", "tag", "prefix", "clear", "expire", "persist"]
    const faults = ["start", "crash", "leave", "vanish", "pause", "cut", "weather", "forget"]
    const worlds = ["2 hosts", "12 hosts", "database", "no database", "regions", "groups"]
    for (const what of [...kinds, ...faults, ...worlds]) expect(seen).toContain(what)
  })
})
