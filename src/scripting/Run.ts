/**
 * One run of a script, from its first step to its end.
 *
 * It is always in one place: in a step (the thread is its own), in a seat of its account (it wants the thread),
 * suspended (a host function answers later), or in the line of a kept state (an earlier run has the state's world).
 * Wherever it is, it can be ended at once, but for its own step, after which it ends. It ends exactly once; then
 * nothing of it is left: no timer, no listener, no place in a line, and no world of its own.
 *
 * Work is limited as fuel, by the machine. A slice that was ended by the clock counts as a whole one, however little
 * of it was Lua: what a run's writes set off (its tenant's triggers) is its own work too.
 */
import { setMaxListeners } from "node:events"
import type { Tenant } from "../cache/index.ts"
import type { Keyspace } from "../kernel/index.ts"
import {
  AnswerError,
  fuelPerMicro,
  type LuaValue,
  Refusal,
  type ScriptFailure,
  type ScriptGlobals,
  type ScriptLimits,
  ScriptStep
} from "../sandbox/index.ts"
import type { Account, RunOutcome } from "./Account.ts"
import type { Line } from "./Line.ts"
import type { Scheduler, SchedulerClock, Task } from "./Scheduler.ts"
import {
  FunctionNotFound,
  InvalidArgument,
  type ScriptError,
  ScriptInterrupted,
  ScriptKilled,
  ScriptOutOfMemory,
  ScriptRuntimeError,
  ScriptTimeout
} from "./ScriptError.ts"
import type { ScriptLineKind } from "./ScriptLog.ts"
import type { Current, RunningScript } from "./ScriptRun.ts"

/** What a run needs of the world that it runs in; a `ScriptWorld` is one. */
export interface World {
  start(entry: string, args: ReadonlyArray<LuaValue>, limits: ScriptLimits, globals?: ScriptGlobals): ScriptStep
  resume(answer?: LuaValue | AnswerError): ScriptStep
  readonly result: LuaValue | Refusal
  readonly failure: ScriptFailure
  /** Units of the run so far. */
  readonly fuelSpent: number
  /** Where the run that is suspended stands in the source; 0 where that is not known. */
  readonly line: number
  /** Nothing has run in it: its next run executes the chunk first, and finds no globals from outside. */
  readonly isFresh: boolean
  seed(seed: number): void
  /** Back to the program's fresh image. */
  reset(): void
  /** Gives everything back, also in the middle of a run. */
  close(): void
}

/** What a run may take. */
export interface RunLimits {
  /** ms of computing. */
  readonly computeMs: number
  /** ms of waiting: for answers, and for its turn. */
  readonly waitMs: number
  /** Bytes of its world. */
  readonly memoryBytes: number
}

/** Functions of the program that scripts may call, on values as the kernel has them. */
export type HostFunctions = ReadonlyMap<string, (args: readonly LuaValue[]) => LuaValue | Promise<LuaValue>>

/** What is to be run, and with what. */
export interface RunOrder {
  /** The script's name. */
  readonly script: string
  /** The global functions that the script is known to define. */
  readonly functions: readonly string[]
  readonly entry: string
  readonly args: readonly LuaValue[]
  readonly limits: RunLimits
  readonly hostFunctions: HostFunctions | null
  /** Of math.random; null where nobody has asked for one. */
  readonly seed: number | null
  /** Is given what the script prints, too. */
  readonly print: ((line: string) => void) | null
  /** The state to which the world belongs; null: the world is closed with the run. */
  readonly state: RunState | null
}

/** Whoever keeps a world from run to run. */
export interface RunState {
  /** A run has ended that was meant for its world; `isSpoilt` when the world is to be a new one. */
  onRunEnd(run: Run, isSpoilt: boolean): void
}

/** What runs share. */
export interface RunHost {
  readonly current: Current
  readonly scheduler: Scheduler<Run>
  readonly clock: SchedulerClock & { nowMs(): number }
  /** Above zero: slices of so many units for each ms of them, and no clock in the machine. */
  readonly fuelPerSliceMs: number
  log(run: Run, kind: ScriptLineKind, text: string): void
  /** A run has left; it was this one's last word. */
  onRunEnd(run: Run, outcome: RunOutcome): void
  /** A host function has failed in a way that is a defect of ours. */
  onDefect(run: Run, defect: unknown): void
}

export class Run implements RunningScript, Task<Run> {
  // Where it stands, while it waits.
  line: Line<Run> | null = null
  next: Run | null = null
  previous: Run | null = null

  isEnded = false
  /** What it has returned, once it has ended well: its first value. */
  value: LuaValue = null
  /** Why it has not ended well; null until then. */
  error: ScriptError | null = null
  /** Called once at its end; set by whoever has found it suspended. It may not throw. */
  onEnd: (() => void) | null = null
  /** Units of fuel that it was charged. */
  fuelSpent = 0

  private globals: ScriptGlobals | null = null
  private seed: number | null
  private readonly limits: StepLimits
  private readonly startedMs: number
  private hasBegun = false
  private isStepping = false
  /** Why it is to end after the step at hand. */
  private interruption: string | null = null
  private toStart: ((signal: AbortSignal) => Promise<LuaValue>) | null = null
  private answer: LuaValue | AnswerError | undefined
  /** Ends the wait at hand; null while it does not wait. */
  private waiting: Wait | null = null
  private signal: AbortSignal | null = null

  constructor(
    private readonly host: RunHost,
    readonly account: Account<Run>,
    private readonly world: World,
    private readonly order: RunOrder
  ) {
    const { computeMs, memoryBytes } = order.limits
    this.limits = {
      fuelMax: Math.max(1, Math.round(computeMs * fuelPerMs)),
      bytesMax: memoryBytes,
      sliceMs: 0,
      sliceFuel: 0
    }
    this.seed = order.seed
    this.startedMs = host.scheduler.nowMs
  }

  // ---- what host functions see

  get name(): string {
    return this.order.script
  }

  get tenant(): Tenant | null {
    return this.account.tenant
  }

  get keyspace(): Keyspace | null {
    const { tenant } = this.account
    return tenant === null ? null : tenant.keyspace
  }

  get hostFunctions(): HostFunctions | null {
    return this.order.hostFunctions
  }

  nowMs(): number {
    return this.host.clock.nowMs()
  }

  get waitMs(): number {
    return this.order.limits.waitMs
  }

  waitLeftMs(): number {
    return this.waitMs - this.waitedMs(this.host.clock.elapsedMs())
  }

  refuse(reason: string): void {
    this.host.log(this, "refused", reason)
  }

  print(line: string): void {
    this.host.log(this, "print", line)
    this.order.print?.(line)
  }

  wait(start: (signal: AbortSignal) => Promise<LuaValue>): void {
    this.toStart = start
  }

  // ---- what whoever started it may do

  /** Before its start: gives the world globals, and a seed to a run that asks for none; null: those that it has. */
  equip(globals: ScriptGlobals | null, seed: number | null): void {
    this.globals = globals
    this.seed ??= seed
  }

  /** Ends it: at once, or after the step at hand. Does nothing when it has ended. */
  interrupt(reason: string): void {
    if (this.isStepping) this.interruption ??= reason
    else this.end("interrupted", null, new ScriptInterrupted({ script: this.name, line: this.sourceLine, reason }))
  }

  /** Has it end when the signal fires. */
  heed(signal: AbortSignal): void {
    if (this.isEnded) return
    if (signal.aborted) {
      this.interrupt(signalFired)
      return
    }
    this.signal = signal
    setMaxListeners(0, signal) // one signal may well end a thousand runs; Node would take that for a leak
    signal.addEventListener("abort", this.onAbort)
  }

  private readonly onAbort = (): void => this.interrupt(signalFired)

  /** Ends it when it has waited for its turn longer than it may wait. */
  expire(nowMs: number): void {
    if (this.waitedMs(nowMs) > this.order.limits.waitMs) this.timeOut("waiting", this.suspension())
  }

  // ---- a step

  step(sliceMs: number): boolean {
    const { host, world, limits, order } = this
    this.expire(host.scheduler.nowMs)
    if (this.isEnded) return false
    if (host.fuelPerSliceMs > 0) limits.sliceFuel = Math.max(1, Math.round(sliceMs * host.fuelPerSliceMs))
    else limits.sliceMs = sliceMs
    const { current } = host
    const outer = current.run
    const before = this.hasBegun ? world.fuelSpent : 0
    let step: ScriptStep
    current.run = this
    this.isStepping = true
    try {
      if (this.hasBegun) {
        const { answer } = this
        this.answer = undefined
        step = answer === undefined ? world.resume() : world.resume(answer)
      } else {
        this.hasBegun = true
        if (this.seed !== null) world.seed(this.seed)
        step =
          this.globals === null
            ? world.start(order.entry, order.args, limits)
            : world.start(order.entry, order.args, limits, this.globals)
      }
    } catch (defect) {
      current.run = outer
      this.isStepping = false
      this.fuelSpent += sliceMs * fuelPerMs // nobody knows how far it came
      host.onDefect(this, defect)
      this.end("killed", null, this.killed("a function of the host has failed; the script is not to blame"))
      return false
    }
    current.run = outer
    this.isStepping = false
    const fuel = world.fuelSpent - before
    const isWholeSlice = step === ScriptStep.computing && host.fuelPerSliceMs === 0
    this.fuelSpent += isWholeSlice ? Math.max(fuel, sliceMs * fuelPerMs) : fuel
    return this.settle(step)
  }

  /** What follows from how the step has ended; true when it would go on computing. */
  private settle(step: ScriptStep): boolean {
    const { world } = this
    if (step === ScriptStep.done) {
      const { result } = world
      if (result instanceof Refusal) this.end("invalid", null, this.unreturnable(result))
      else this.end("ok", result, null)
      return false
    }
    if (step === ScriptStep.computing || step === ScriptStep.waiting) {
      if (this.interruption !== null || this.account.isClosed) {
        this.interrupt(this.interruption ?? tenantGone)
        return false
      }
      if (step === ScriptStep.waiting) {
        this.suspend()
        return false
      }
      if (this.fuelSpent <= this.limits.fuelMax) return true
      this.timeOut("computing", this.suspension())
      return false
    }
    const { failure } = world
    if (step === ScriptStep.timeout) this.timeOut("computing", failure)
    else if (step === ScriptStep.memory) this.end("memory", null, this.outOfMemory(failure))
    else if (step === ScriptStep.killed) this.end("killed", null, this.killed(failure.message, failure.line))
    else this.fail(failure)
    return false
  }

  // ---- waiting

  private suspend(): void {
    const { host } = this
    const start = this.toStart
    this.toStart = null
    const wait = new Wait(
      host.clock.after(Math.max(0, this.waitLeftMs()), () => this.timeOut("waiting", this.suspension()))
    )
    this.waiting = wait
    this.account.suspended.push(this)
    const answer = (value: LuaValue | AnswerError): void => this.resume(wait, value)
    const refuse = (reason: unknown): void => this.resume(wait, new AnswerError(messageOf(reason)))
    if (start === null) refuse("the host has forgotten what this call waits for")
    else started(start, wait.abort.signal).then(answer, refuse)
  }

  private resume(wait: Wait, answer: LuaValue | AnswerError): void {
    if (this.waiting !== wait) return
    wait.stopTimer()
    this.waiting = null
    this.account.suspended.remove(this)
    this.answer = answer
    this.host.scheduler.wake(this)
  }

  /** Where it stands between two steps. */
  private get sourceLine(): number {
    return this.hasBegun ? this.world.line : 0
  }

  private suspension(): ScriptFailure {
    return { message: "", line: this.sourceLine, traceback: "", isRefusal: false }
  }

  /** ms since its start in which it has not computed. */
  private waitedMs(nowMs: number): number {
    return nowMs - this.startedMs - this.fuelSpent / fuelPerMs
  }

  // ---- its end

  private end(outcome: RunOutcome, value: LuaValue, error: ScriptError | null): void {
    if (this.isEnded) return
    this.isEnded = true
    this.value = value
    this.error = error
    const { waiting, signal, account, world, order, hasBegun } = this
    if (this.line !== null) {
      this.host.scheduler.remove(this)
      this.line?.remove(this)
    }
    if (waiting !== null) {
      this.waiting = null
      waiting.stopTimer()
      waiting.abort.abort(error)
    }
    signal?.removeEventListener("abort", this.onAbort)
    account.runs--
    account.counters.outcomes[outcome]++
    if (order.state === null) world.close()
    else
      order.state.onRunEnd(
        this,
        hasBegun && (outcome === "interrupted" || outcome === "timeout" || outcome === "killed")
      )
    if (error !== null) this.host.log(this, "failed", wholeStory(error))
    this.host.onRunEnd(this, outcome)
    this.onEnd?.()
  }

  private timeOut(kind: "computing" | "waiting", { message, line, traceback }: ScriptFailure): void {
    const { computeMs, waitMs } = this.order.limits
    const [limitMs, name] = kind === "computing" ? [computeMs, "computeMs"] : [waitMs, "waitMs"]
    // A run may also be stopped because it cannot be suspended; then the machine says what it did.
    const reason = /^(?:held|stack overflow)/.test(message)
      ? message
      : `stopped after ${limitMs} ms of ${kind}, its limit (${name})`
    this.end("timeout", null, new ScriptTimeout({ script: this.name, line, kind, limitMs, reason, traceback }))
  }

  private fail({ message, line, traceback, isRefusal }: ScriptFailure): void {
    const { order, name: script } = this
    const { entry, functions } = order
    if (line === 0 && message.startsWith(noFunction)) {
      this.end("invalid", null, new FunctionNotFound({ script, function: entry, functions }))
    } else if (isRefusal) {
      const [, path = "arguments", reason = message] =
        /^((?:argument \d+|globals|functions)\S*) ([\s\S]*)$/.exec(message) ?? []
      this.end("invalid", null, new InvalidArgument({ script, path, reason }))
    } else this.end("error", null, new ScriptRuntimeError({ script, line, reason: message, traceback }))
  }

  private outOfMemory({ message, line, traceback }: ScriptFailure): ScriptOutOfMemory {
    const { memoryBytes: limitBytes } = this.order.limits
    return new ScriptOutOfMemory({ script: this.name, line, limitBytes, reason: message, traceback })
  }

  private killed(reason: string, line = 0): ScriptKilled {
    return new ScriptKilled({ script: this.name, line, reason })
  }

  private unreturnable({ path, message }: Refusal): InvalidArgument {
    return new InvalidArgument({ script: this.name, path, reason: message.slice(path.length + 1) })
  }
}

/** The machine reads them at the beginning of each step. */
type StepLimits = { -readonly [Field in keyof ScriptLimits]: ScriptLimits[Field] }

/** A call that is answered later. */
class Wait {
  readonly abort = new AbortController()

  constructor(readonly stopTimer: () => void) {}
}

/** What throws at once has failed like what throws later. */
const started = (start: (signal: AbortSignal) => Promise<LuaValue>, signal: AbortSignal): Promise<LuaValue> => {
  try {
    return start(signal)
  } catch (error) {
    return Promise.reject(error)
  }
}

/** The error, and in the lines below it where the script stood, where Lua tells. */
const wholeStory = (error: ScriptError): string =>
  "traceback" in error && error.traceback !== "" ? `${error.message}\n${error.traceback}` : error.message

/** What Lua is told of something that a function of the host has thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const fuelPerMs = fuelPerMicro * 1000

export const signalFired = "its signal was aborted"

/** Why the runs of a tenant end that is removed. */
export const tenantGone = "its tenant was removed"

const noFunction = "there is no function '" // how the machine says it
