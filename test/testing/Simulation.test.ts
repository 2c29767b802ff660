import { Clock, Deferred, Effect, Exit, Fiber, Random } from "effect"
import { describe, expect, it } from "vitest"
import { Simulation } from "../../src/testing/index.ts"

/** The order in which ten fibers that each yield three times get through. */
const interleaving = (options: Simulation.Options): string => {
  const simulation = Simulation.make(options)
  const seen: Array<number> = []
  const one = (name: number) =>
    Effect.repeatN(
      Effect.zipRight(
        Effect.yieldNow(),
        Effect.sync(() => seen.push(name))
      ),
      2
    )
  simulation.run(Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], one, { concurrency: "unbounded" }))
  return seen.join("")
}

describe("Simulation", () => {
  it("runs a sleeping program to its end at once, in virtual time", () => {
    const simulation = Simulation.make({ seed: 1 })
    const exit = simulation.run(Effect.zipRight(Effect.sleep("1 hour"), Clock.currentTimeMillis))
    expect(exit).toEqual(Exit.succeed(3_600_000))
    expect(simulation.nowMs).toBe(3_600_000)
  })

  it("runs nothing but what is drained", () => {
    const simulation = Simulation.make({ seed: 1 })
    let count = 0
    simulation.fork(
      Effect.zipRight(
        Effect.yieldNow(),
        Effect.sync(() => count++)
      )
    )
    expect(count).toBe(0)
    simulation.drain()
    expect(count).toBe(1)
  })

  it("fires timers in order of time, equal times in order of setting, and lets each wake its fibers before the next", () => {
    const simulation = Simulation.make({ seed: 1 })
    const seen: Array<string> = []
    const at = (ms: number, name: string) =>
      Effect.zipRight(
        Effect.sleep(ms),
        Effect.sync(() => seen.push(`${name}@${simulation.nowMs}`))
      )
    for (const [ms, name] of [
      [30, "c"],
      [10, "a"],
      [20, "b1"],
      [20, "b2"]
    ] as const)
      simulation.fork(at(ms, name))
    simulation.advance(25)
    expect(seen).toEqual(["a@10", "b1@20", "b2@20"])
    expect(simulation.nowMs).toBe(25)
    simulation.advance(5)
    expect(seen.at(-1)).toBe("c@30")
  })

  it("never fires a timer that was cancelled", () => {
    const simulation = Simulation.make({ seed: 1 })
    let isFired = false
    const fiber = simulation.fork(
      Effect.zipRight(
        Effect.sleep(10),
        Effect.sync(() => (isFired = true))
      )
    )
    simulation.drain()
    simulation.run(Fiber.interrupt(fiber))
    simulation.advance(100)
    expect(isFired).toBe(false)
    expect(simulation.clock.pending).toBe(0)
  })

  it("gives the same interleaving for the same seed, and others for others", () => {
    expect(interleaving({ seed: 7 })).toBe(interleaving({ seed: 7 }))
    const different = new Set(Array.from({ length: 20 }, (_, seed) => interleaving({ seed })))
    expect(different.size).toBeGreaterThan(15)
  })

  it("serves first come first served when asked", () => {
    expect(interleaving({ seed: 7, order: "fifo" })).toBe("0123456789".repeat(3))
    expect(interleaving({ seed: 8, order: "fifo" })).toBe("0123456789".repeat(3))
  })

  it("gives Effect's Random the same numbers for the same seed", () => {
    const draw = (seed: number) => Simulation.make({ seed }).run(Effect.all([Random.next, Random.nextInt]))
    expect(draw(5)).toEqual(draw(5))
    expect(draw(5)).not.toEqual(draw(6))
  })

  it("says so when a program waits for what cannot come", () => {
    const simulation = Simulation.make({ seed: 3 })
    expect(() => simulation.run(Effect.flatMap(Deferred.make<void>(), Deferred.await))).toThrow(
      /stuck at 0 ms \(seed 3\)/
    )
  })

  it("says so when fibers never come to rest", () => {
    const simulation = Simulation.make({ seed: 3 })
    simulation.fork(Effect.forever(Effect.yieldNow()))
    expect(() => simulation.drain(1000)).toThrow(/livelock/)
  })

  it("pops timers in order whatever the order of setting (1,000 random ones)", () => {
    const simulation = Simulation.make({ seed: 11 })
    const fired: Array<number> = []
    for (let i = 0; i < 1000; i++)
      simulation.clock.unsafeSchedule(() => fired.push(simulation.nowMs), simulation.random.int(500))
    simulation.advance(500)
    expect(fired).toHaveLength(1000)
    expect(fired).toEqual([...fired].sort((a, b) => a - b))
  })

  it("draws numbers evenly and within bounds", () => {
    const random = new Simulation.Seeded(1)
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < 10_000; i++) {
      const drawn = random.int(10)
      counts[drawn] = (counts[drawn] as number) + 1
    }
    expect(Math.min(...counts)).toBeGreaterThan(850)
    expect(Math.max(...counts)).toBeLessThan(1150)
  })
})
