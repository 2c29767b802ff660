import { createHash } from "node:crypto"
import { expect, it } from "vitest"
import {
  type HostFunction,
  type ScriptLimits,
  ScriptMachines,
  type ScriptProgram,
  ScriptStep,
  ScriptVm,
  type ScriptWorld
} from "../../src/sandbox/index.ts"
import { heapEndOf } from "../../src/sandbox/internal/snapshot.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { stillClock } from "./support.ts"
import { programOf } from "./worldPrograms.ts"

it(
  "worlds swapped at random, among others that are killed and closed, end as they do alone: steps, fuel, result, memory",
  async () => {
    const alone = new Pool(1)
    const pools = [new Pool(1), new Pool(2), new Pool(4)]
    await forAllSeeds(100, (random) => {
      const sources = Array.from({ length: 8 }, () => sourceOf(random))
      const sliceFuel = random.pick([1_000, 5_000, 50_000])
      const limits: ScriptLimits = { fuelMax: 400_000, bytesMax: 1 << 20, sliceMs: 0, sliceFuel }
      const seeds = sources.map(() => random.below(1000))
      const expected = sources.map((source, n) => {
        const run = new Run(alone, alone.compile(source), limits, seeds[n] as number)
        while (!run.isOver) run.step()
        const end = run.end()
        run.world.close()
        return end
      })
      const pool = random.pick(pools)
      const runs = sources.map((source, n) => new Run(pool, pool.compile(source), limits, seeds[n] as number))
      const open = runs.map((_, n) => n)
      while (open.length > 0) {
        const at = random.below(open.length)
        const n = open[at] as number
        const run = runs[n] as Run
        if (random.oneIn(100)) run.world.close()
        else {
          run.step()
          if (!run.isOver) continue
          expect(run.end()).toEqual(expected[n])
        }
        open.splice(at, 1)
        if (random.oneIn(2)) run.world.close()
      }
      for (const { world } of runs) world.close()
      expect(pool.machines.stats).toMatchObject({ images: 0, imageBytes: 0, refused: 0, dropped: 0 })
    })
    for (const { machines } of pools) expect(machines.stats.kills).toBeGreaterThan(0)
    for (const { machines } of pools) expect(machines.stats.swapsIn).toBeGreaterThan(0)
  },
  propertyTimeoutMs
)

/** Mostly programs that wait and compute; some that end badly, at once or after a while. */
const sourceOf = (random: Random): string => {
  const body = programOf(random, (text) => `global = (global or "") .. tostring(test.wait(${text}))`)
  const hostile = random.pick(["", "", "", ...endings])
  return `function main() ${hostile === "" ? body : `local function run() ${body} end run(); ${hostile}`} end`
}

const endings = [
  "error({ 1 })",
  "while true do end",
  "while true do pcall(error) end",
  "('a'):rep(300):find('.-.-.-.-b')",
  "local t = {} for i = 1, 1e9 do t[i] = { i } end",
  "return ('x'):rep(1e9)",
  "local function f() return f() + 1 end f()",
  "coroutine.wrap(function() while true do end end)()"
]

class Pool {
  readonly vms: Array<ScriptVm> = []
  readonly machines: ScriptMachines

  constructor(machinesMax: number) {
    const wait: HostFunction = (call) => call.wait()
    const make = (): ScriptVm => {
      const vm = new ScriptVm({ hostTables: { test: { wait } }, clock: stillClock })
      this.vms.push(vm)
      clearStack(vm)
      return vm
    }
    this.machines = new ScriptMachines({ make, machinesMax })
  }

  compile(source: string): ScriptProgram {
    this.clearStacks()
    const program = this.machines.compile("test", source)
    if (!("image" in program)) throw new Error(program.message)
    return program
  }

  clearStacks(): void {
    for (const vm of this.vms) clearStack(vm)
  }
}

/** C copies the unused half of a value too, and with it what some call has left on its stack. */
const clearStack = ({ memory, lua }: ScriptVm): void => {
  const base = lua.emscripten_stack_get_base()
  memory.bytes.fill(0, base - stackBytes, base)
}

const stackBytes = 256 << 10 // of a megabyte; deeper than any of these programs goes

class Run {
  readonly world: ScriptWorld
  readonly steps: Array<ScriptStep> = []

  constructor(
    readonly pool: Pool,
    program: ScriptProgram,
    readonly limits: ScriptLimits,
    seed: number
  ) {
    this.world = pool.machines.open(program)
    this.world.seed(seed)
  }

  step(): void {
    const { world, steps, pool, limits } = this
    pool.clearStacks()
    const step = steps.length === 0 ? world.start("main", [], limits) : world.resume(`answer ${steps.length}`)
    steps.push(step)
  }

  get isOver(): boolean {
    const last = this.steps.at(-1)
    return last !== undefined && last < ScriptStep.computing
  }

  /** All that can be known of a run that is over. */
  end(): object {
    const { world, steps } = this
    const vm = world.slot?.vm
    const memory = vm === undefined ? undefined : digestOf(vm)
    return { steps, result: world.result, failure: world.failure, fuel: world.fuelSpent, bytes: world.bytes, memory }
  }
}

/** All that a world consists of, as a digest. */
const digestOf = ({ memory, lua }: ScriptVm): string => {
  lua.setThrew(0, 0) // what the last Lua error was is no part of the state
  return createHash("sha1")
    .update(memory.bytes.subarray(0, lua.emscripten_stack_get_end()))
    .update(memory.bytes.subarray(lua.emscripten_stack_get_base(), heapEndOf(memory)))
    .digest("hex")
}
