/**
 * How a schedule is run, shrunk and told: what the tests share. `storyOf(seed)` is where to begin with a seed that fails.
 */
import { Random } from "../../support/Random.ts"
import { Broken } from "./Broken.ts"
import { laws } from "./invariants.ts"
import { type Schedule, type Step, scheduleOf } from "./Schedule.ts"
import type { Parts } from "./SimInstance.ts"
import { shrink } from "./shrink.ts"
import { World } from "./World.ts"

/** Runs a schedule; answers what was broken, undefined where all held. */
export const broken = (schedule: Schedule, parts: Parts = {}, world?: World): Broken | undefined => {
  try {
    ;(world ?? new World(schedule, parts)).run()
    return undefined
  } catch (error) {
    if (error instanceof Broken) return error
    return new Broken("defect", -1, "", error instanceof Error ? (error.stack ?? error.message) : String(error), 0)
  }
}

/** The shortest story that breaks the same invariant: what a failure prints. */
export const storyOf = (seed: number, parts: Parts = {}): string => {
  const schedule = scheduleOf(new Random(seed))
  const first = broken(schedule, parts)
  if (first === undefined) return `seed ${seed} holds`
  const withSteps = (steps: readonly Step[]): Schedule => ({ ...schedule, steps })
  const steps = shrink(
    schedule.steps,
    (some) => broken(withSteps(some), parts)?.invariant === first.invariant,
    triesMax
  )
  const world = new World(withSteps(steps), parts, true)
  const last = broken(withSteps(steps), parts, world) ?? first
  const isAbout = (space: number, key: string): boolean =>
    space === -1 || last.space === -1 || (space === last.space && (key === last.key || !schedule.keys.includes(key)))
  const lines = world.lines
    .filter(({ space, key }) => isAbout(space, key))
    .map(({ atMs, text }) => `  t=${atMs.toFixed(1)} ${text}`)
  const shown = lines.length <= linesMax ? lines : [...lines.slice(0, 20), "  …", ...lines.slice(20 - linesMax)]
  return [
    `seed ${seed}, ${steps.length} of ${schedule.steps.length} steps, breaks ${last.invariant}: ${last.sentence}`,
    `(${last.invariant}: ${laws[last.invariant]})`,
    ...shown
  ].join("\n")
}

const triesMax = 400 // runs, some milliseconds each
const linesMax = 120
