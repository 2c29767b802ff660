/** Worlds in which nothing is run: they do step by step what they were told. For tests of what is around them. */
import {
  fuelPerMicro,
  type LuaValue,
  type ScriptFailure,
  type ScriptLimits,
  ScriptStep
} from "../../src/sandbox/index.ts"
import type { World } from "../../src/scripting/Run.ts"
import type { Runnable, Runs } from "../../src/scripting/Runs.ts"

/**
 * A number: ms of computing. `wait`: until it is answered; `suspend`: until what the act before has asked for is there.
 * Else: how it ends; at the end of the plan it is done.
 */
export type Act = number | "wait" | "suspend" | "error" | "kill" | "throw" | (() => void)

/** Ends a wait: with a value, or with what the host's function throws. */
export type Answer = (value: LuaValue | Error) => void

export class FakeWorld implements World {
  result: LuaValue = null
  failure: ScriptFailure = { message: "", line: 0, traceback: "", isRefusal: false }
  fuelSpent = 0
  isOpen = true
  line = 0
  isFresh = true
  isSuspended = false
  seeds: number[] = []
  resets = 0
  readonly answers: unknown[] = []
  private acts: Act[] = []
  private limits: ScriptLimits = { fuelMax: 0, bytesMax: 0, sliceMs: 0, sliceFuel: 0 }

  constructor(
    private readonly runs: () => Runs,
    private readonly time: { ms: number },
    private readonly answersLater: Answer[]
  ) {}

  /** `entry` is the plan, as JSON, or the name of one in `plans`. */
  start(entry: string, _args: ReadonlyArray<LuaValue>, limits: ScriptLimits): ScriptStep {
    if (!this.isOpen) throw new Error("started in a closed world")
    if (this.isSuspended) throw new Error("started over a suspended run")
    this.limits = limits
    this.isFresh = false
    this.fuelSpent = 0
    this.acts = [...(plans.get(entry) ?? (JSON.parse(entry) as Act[]))]
    return this.go()
  }

  resume(answer?: unknown): ScriptStep {
    if (!this.isOpen || !this.isSuspended) throw new Error("resumed what is not suspended")
    if (answer !== undefined) this.answers.push(answer)
    this.isSuspended = false
    return this.go()
  }

  seed(seed: number): void {
    this.seeds.push(seed)
  }

  reset(): void {
    this.resets++
    this.isFresh = true
    this.isSuspended = false
  }

  close(): void {
    this.isOpen = false
    this.isSuspended = false
  }

  private go(): ScriptStep {
    let sliceMs = this.limits.sliceMs
    for (;;) {
      const act = this.acts[0]
      if (act === undefined) {
        this.result = "done"
        return ScriptStep.done
      }
      if (typeof act === "number") {
        const ms = Math.min(act, sliceMs)
        this.time.ms += ms
        this.fuelSpent += ms * 1000 * fuelPerMicro
        sliceMs -= ms
        if (this.fuelSpent > this.limits.fuelMax) return this.fail(ScriptStep.timeout, "too much computing")
        if (act - ms > 1e-9) this.acts[0] = act - ms
        else this.acts.shift()
        if (sliceMs > 1e-9) continue
        this.line = 7
        this.isSuspended = true
        return ScriptStep.computing
      }
      this.acts.shift()
      if (act === "error") return this.fail(ScriptStep.error, "it is wrong")
      if (act === "kill") {
        this.isFresh = true
        return this.fail(ScriptStep.killed, "killed: no error could stop it")
      }
      if (act === "throw") throw new Error("a defect")
      if (act === "suspend") {
        this.line = 8
        this.isSuspended = true
        return ScriptStep.waiting
      }
      if (act === "wait") {
        const { run } = this.runs().current
        run.wait(
          (signal) =>
            new Promise((resolve, reject) => {
              this.answersLater.push((value) => (value instanceof Error ? reject(value) : resolve(value)))
              signal.addEventListener("abort", () => reject(signal.reason))
            })
        )
        this.line = 8
        this.isSuspended = true
        return ScriptStep.waiting
      }
      act()
    }
  }

  private fail(step: ScriptStep, message: string): ScriptStep {
    this.failure = { message, line: 3, traceback: "stack traceback:", isRefusal: false }
    return step
  }
}

/** Plans with functions in them, by name. */
export const plans = new Map<string, Act[]>()

/** A script of fake worlds, all of which are kept for a test to look at. */
export class FakeScript implements Runnable {
  readonly worlds: FakeWorld[] = []
  readonly functions = ["main"]
  /** Ends the waits, in the order in which they began. */
  readonly answers: Answer[] = []

  constructor(
    readonly name: string,
    private readonly runs: () => Runs,
    private readonly time: { ms: number }
  ) {}

  open(): FakeWorld {
    const world = new FakeWorld(this.runs, this.time, this.answers)
    this.worlds.push(world)
    return world
  }
}
