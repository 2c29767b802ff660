/** What the tests of scripts share: a machine by fuel alone, with a clock that stands still, and ways to run a source. */
import {
  type AnswerError,
  type LuaValue,
  type ScriptGlobals,
  type ScriptLimits,
  ScriptStep,
  ScriptVm,
  type ScriptVmOptions
} from "../../src/sandbox/index.ts"
import { stillClock } from "./support.ts"

export const scriptLimits: ScriptLimits = {
  fuelMax: 20_000_000,
  bytesMax: 4 << 20,
  sliceMs: 0,
  sliceFuel: 100_000
}

/** A machine with the script in it. `host.wait(…)` waits where it can. */
export const makeScript = (source: string, options: Partial<ScriptVmOptions> = {}): ScriptVm => {
  const vm = new ScriptVm({
    hostTables: { host: { wait: (call) => void call.wait() } },
    clock: stillClock,
    ...options
  })
  const error = vm.compile("script", source)
  if (error !== undefined) throw new Error(`${error.line}:${error.column}: ${error.message}`)
  return vm
}

export interface Finished {
  readonly step: ScriptStep
  readonly result: unknown
  /** Steps that it took. */
  readonly steps: number
  /** How many of them ended as `waiting`. */
  readonly waits: number
}

/** Runs it to its end; each wait is answered with what `answer` makes of its number, from 0. */
export const finish = (
  vm: ScriptVm,
  entry = "main",
  args: ReadonlyArray<LuaValue> = [],
  limits: Partial<ScriptLimits> = {},
  answer: (wait: number) => LuaValue | AnswerError | undefined = () => undefined,
  globals?: ScriptGlobals
): Finished => {
  let step = vm.start(entry, args, { ...scriptLimits, ...limits }, globals)
  let steps = 1
  let waits = 0
  while (step >= ScriptStep.computing) {
    step = step === ScriptStep.waiting ? vm.resume(answer(waits++)) : vm.resume()
    steps++
  }
  return { step, result: step === ScriptStep.done ? vm.result : vm.failure.message, steps, waits }
}

/** What `main` of the source answers; throws what it fails with. */
export const runScript = (source: string, limits: Partial<ScriptLimits> = {}): unknown => {
  const vm = makeScript(source)
  const { step, result } = finish(vm, "main", [], limits)
  if (step !== ScriptStep.done) throw new Error(`${vm.failure.line}: ${vm.failure.message}`)
  return result
}
