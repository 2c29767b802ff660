/**
 * All runs of all tenants: who is let in, who is told no, and what ends with whom.
 *
 * Plain and synchronous; services and processes stand above it. Everything outside (time, turns of the event loop,
 * machines) is given to it, so that a test owns it and a schedule can be repeated.
 */
import type { EventBus, Tenant, TenantLimits } from "../cache/index.ts"
import { lossyText, toBytes } from "../cache/index.ts"
import type { LuaValue, ScriptGlobals } from "../sandbox/index.ts"
import { Account, type RunOutcome } from "./Account.ts"
import { Line } from "./Line.ts"
import {
  type HostFunctions,
  Run,
  type RunHost,
  type RunLimits,
  type RunState,
  signalFired,
  tenantGone,
  type World
} from "./Run.ts"
import { Scheduler, type SchedulerClock } from "./Scheduler.ts"
import { ScriptInterrupted, ScriptQuotaExceeded } from "./ScriptError.ts"
import { type ScriptLineKind, ScriptLogBytes } from "./ScriptLog.ts"
import type { Current, RunningScript } from "./ScriptRun.ts"

/** What a script is to the runs: a name, and worlds that begin with its chunk. */
export interface Runnable {
  readonly name: string
  /** The global functions that it is known to define. */
  readonly functions: readonly string[]
  /** A new world of it, whose image counts as the account's. */
  open(account: Account<Run>): World
}

/** What whoever starts a run may say about it. Values are the kernel's. */
export interface RunRequest {
  readonly limits?: Partial<RunLimits>
  readonly globals?: ScriptGlobals
  readonly hostFunctions?: HostFunctions
  readonly seed?: number
  readonly print?: (line: string) => void
  readonly signal?: AbortSignal
}

export interface RunsOptions {
  readonly clock: SchedulerClock & { nowMs(): number }
  readonly bus: EventBus
  /** Of runs that are nobody's. */
  readonly limits: TenantLimits
  /** Runs at once, of all tenants. Default 10,000. */
  readonly runsMax?: number
  /** Kept states, of all tenants. Default 10,000. */
  readonly statesMax?: number
  /** Seeds of math.random, where nobody asks for one. */
  readonly random: () => number
  /** Above zero: slices of so many units for each ms of them, and no clock in the machines. Default 0. */
  readonly fuelPerSliceMs?: number
  readonly onDefect?: (script: string, defect: unknown) => void
  /** Nobody runs any more, or no state is kept any more. */
  readonly onQuiet?: () => void
}

/** Why a run was not let in. */
export type RunRefused = ScriptQuotaExceeded | ScriptInterrupted

export class Runs implements RunHost {
  readonly current: Current = { run: nobodyRuns }
  readonly scheduler: Scheduler<Run>
  readonly clock: RunsOptions["clock"]
  readonly fuelPerSliceMs: number
  readonly logs = new ScriptLogBytes()
  readonly counters = {
    outcomes: { ok: 0, error: 0, timeout: 0, memory: 0, killed: 0, interrupted: 0, invalid: 0 },
    refused: { runs: 0, fuel: 0, engine: 0, state: 0, states: 0 },
    fuel: 0,
    defects: 0
  }
  /** Runs that have been let in and have not ended. */
  size = 0
  /** Kept states. */
  states = 0
  private readonly accounts = new Map<Tenant, Account<Run>>()
  private readonly nobody: Account<Run>
  private readonly statesOf = new Map<Account<Run>, Set<KeptState>>()
  private readonly options: RunsOptions
  private readonly runsMax: number
  private readonly statesMax: number

  constructor(options: RunsOptions) {
    this.options = options
    this.clock = options.clock
    this.runsMax = options.runsMax ?? runsMaxDefault
    this.statesMax = options.statesMax ?? statesMaxDefault
    this.fuelPerSliceMs = options.fuelPerSliceMs ?? 0
    this.scheduler = new Scheduler(options.clock)
    this.nobody = new Account(null, options.limits, this.logs, options.clock.elapsedMs())
  }

  /** The account of a tenant; of nobody for null. */
  account(tenant: Tenant | null): Account<Run> {
    if (tenant === null) return this.nobody
    const known = this.accounts.get(tenant)
    if (known !== undefined) return known
    const account = new Account<Run>(tenant, this.options.limits, this.logs, this.scheduler.nowMs)
    account.isClosed = !tenant.isOpen
    if (tenant.isOpen) this.accounts.set(tenant, account)
    return account
  }

  /** Starts a run in a world of its own; it may have ended when this returns. */
  start(
    script: Runnable,
    account: Account<Run>,
    entry: string,
    args: readonly LuaValue[],
    request: RunRequest
  ): Run | RunRefused {
    const refused = this.refusal(script.name, account, request.signal)
    if (refused !== null) return refused
    const run = this.make(script, account, script.open(account), entry, args, request, null)
    run.equip(this.globals(account, request), this.options.random())
    this.scheduler.start(run)
    if (request.signal !== undefined) run.heed(request.signal)
    return run
  }

  /** A world that is kept from run to run, until it is closed. */
  keep(script: Runnable, account: Account<Run>, request: RunRequest): KeptState | RunRefused {
    if (account.isClosed) return new ScriptInterrupted({ script: script.name, line: 0, reason: tenantGone })
    if (this.states >= this.statesMax) return this.quota(script.name, account, "states", this.statesMax, laterMs)
    const state = new KeptState(this, script, account, request)
    const others = this.statesOf.get(account)
    if (others === undefined) this.statesOf.set(account, new Set([state]))
    else others.add(state)
    this.states++
    return state
  }

  /** Ends all that a tenant has at work, and its log. */
  close(tenant: Tenant): void {
    const account = this.accounts.get(tenant)
    if (account === undefined) return
    account.isClosed = true
    this.endAll(account, tenantGone)
    account.log.close()
    this.accounts.delete(tenant)
  }

  /** Ends all runs and states of everybody. */
  endEverything(reason: string): void {
    for (const account of [this.nobody, ...this.accounts.values()]) this.endAll(account, reason)
  }

  /** Runs that wait for an answer. */
  get suspended(): number {
    let sum = this.nobody.suspended.size
    for (const { suspended } of this.accounts.values()) sum += suspended.size
    return sum
  }

  // ---- for runs and states

  refusal(script: string, account: Account<Run>, signal: AbortSignal | undefined): RunRefused | null {
    if (account.isClosed) return new ScriptInterrupted({ script, line: 0, reason: tenantGone })
    if (signal?.aborted === true) return new ScriptInterrupted({ script, line: 0, reason: signalFired })
    const { limits } = account
    if (account.runs >= limits.runsMax) return this.quota(script, account, "runs", limits.runsMax, laterMs)
    if (this.size >= this.runsMax) return this.quota(script, account, "engine", this.runsMax, laterMs)
    if (!account.hasFuel(this.scheduler.nowMs)) {
      return this.quota(script, account, "fuel", limits.fuelPerSecond, account.admissionMs)
    }
    return null
  }

  make(
    script: Runnable,
    account: Account<Run>,
    world: World,
    entry: string,
    args: readonly LuaValue[],
    request: RunRequest,
    state: RunState | null
  ): Run {
    account.runs++
    this.size++
    const { limits } = account
    return new Run(this, account, world, {
      script: script.name,
      functions: script.functions,
      entry,
      args,
      limits: request.limits === undefined ? limits : within(limits, request.limits),
      hostFunctions: request.hostFunctions ?? null,
      seed: request.seed ?? null,
      print: request.print ?? null,
      state
    })
  }

  /** What the tenant's environment and the request make frozen globals of. */
  globals(account: Account<Run>, { globals }: RunRequest): ScriptGlobals | null {
    const values = account.environment
    if (globals === undefined) return values === null ? null : { values }
    return { ...globals, values: { ...values, ...globals.values } }
  }

  random(): number {
    return this.options.random()
  }

  quota(
    script: string,
    { tenant, counters }: Account<Run>,
    what: ScriptQuotaExceeded["what"],
    limit: number,
    retryAfterMs: number
  ): ScriptQuotaExceeded {
    this.counters.refused[what]++
    counters.refused++
    return new ScriptQuotaExceeded({ script, tenant: tenant?.id ?? null, what, limit, retryAfterMs })
  }

  log(run: Run, kind: ScriptLineKind, text: string): void {
    const { account, tenant, name } = run
    if (tenant === null) return // nobody's log has no reader; `print` of the run's order has been told
    const shown = kind === "failed" ? text : lossyText(text)
    const line = account.log.append(name, kind, shown, this.clock.nowMs(), account.limits.logLines)
    const { bus } = this.options
    const channel = `${tenant.prefix}:script:log`
    if (bus.hasSubscribers(channel)) bus.publish(channel, toBytes(JSON.stringify(line)))
  }

  onRunEnd(run: Run, outcome: RunOutcome): void {
    this.counters.outcomes[outcome]++
    this.counters.fuel += run.fuelSpent
    if (--this.size === 0) this.options.onQuiet?.()
  }

  onDefect(run: Run, defect: unknown): void {
    this.counters.defects++
    this.options.onDefect?.(run.name, defect)
  }

  forget(state: KeptState, account: Account<Run>): void {
    const states = this.statesOf.get(account)
    if (states?.delete(state) !== true) return
    if (states.size === 0) this.statesOf.delete(account)
    if (--this.states === 0) this.options.onQuiet?.()
  }

  private endAll(account: Account<Run>, reason: string): void {
    for (const state of this.statesOf.get(account) ?? []) state.close(reason)
    for (const line of [account.quick.runs, account.slow.runs, account.suspended]) {
      // As many as there are now: what the end of one sets off is not among them.
      for (let left = line.size; left > 0; left--) line.peek()?.interrupt(reason)
    }
  }
}

/**
 * A world that is kept: globals that a run has left are there for the next one. Runs follow one another. A Lua error
 * leaves the world as it is; a run that had to be stopped (time, an interruption, a kill) takes it along, and the
 * next one finds a new one.
 */
export class KeptState implements RunState {
  private readonly world: World
  private readonly waiting = new Line<Run>()
  private active: Run | null = null
  private isClosed = false
  /** It was made without any wish. */
  private readonly isPlain: boolean
  /** The tenant's environment that the world has seen. */
  private environment: object | null = null

  constructor(
    private readonly runs: Runs,
    private readonly script: Runnable,
    private readonly account: Account<Run>,
    private readonly request: RunRequest
  ) {
    this.world = script.open(account)
    this.isPlain = Object.keys(request).length === 0
  }

  /** Starts a run in this world, or puts it behind those that are there. */
  start(entry: string, args: readonly LuaValue[], request: RunRequest): Run | RunRefused {
    const { runs, script, account } = this
    if (this.isClosed) return new ScriptInterrupted({ script: script.name, line: 0, reason: stateClosed })
    const refused = runs.refusal(script.name, account, request.signal)
    if (refused !== null) return refused
    if (this.waiting.size >= waitingMax) return runs.quota(script.name, account, "state", waitingMax, laterMs)
    const run = runs.make(script, account, this.world, entry, args, this.requestOf(request), this)
    if (this.active === null) {
      this.active = run
      this.prepare(run)
      runs.scheduler.start(run)
    } else this.waiting.push(run)
    if (request.signal !== undefined) run.heed(request.signal)
    return run
  }

  /** Ends what runs and waits, and gives the world back. */
  close(reason = stateClosed): void {
    if (this.isClosed) return
    this.isClosed = true
    this.runs.forget(this, this.account)
    for (let run = this.waiting.peek(); run !== null; run = this.waiting.peek()) run.interrupt(reason)
    if (this.active === null) this.world.close()
    else this.active.interrupt(reason)
  }

  onRunEnd(run: Run, isSpoilt: boolean): void {
    if (run !== this.active) return
    this.active = null
    if (this.isClosed) {
      this.world.close()
      return
    }
    if (isSpoilt) this.world.reset()
    const next = this.waiting.shift()
    if (next === null) return
    this.active = next
    this.prepare(next)
    this.runs.scheduler.wake(next)
  }

  /** What a run says goes before what the state was made with. */
  private requestOf(request: RunRequest): RunRequest {
    if (this.isPlain) return request
    const { seed: _ofNewWorlds, ...kept } = this.request
    return { ...kept, ...request }
  }

  /** A new world gets its globals and a seed, one whose tenant has another environment now the new globals. */
  private prepare(run: Run): void {
    const { environment } = this.account
    const { isFresh } = this.world
    if (!isFresh && environment === this.environment) return
    const globals = this.runs.globals(this.account, this.request)
    if (isFresh) run.equip(globals, this.request.seed ?? this.runs.random())
    else run.equip(globals ?? {}, null) // none: those of before are taken away
    this.environment = environment
  }
}

/** Of a run that nobody has asked for. */
const nobodyRuns: RunningScript = {
  name: "",
  tenant: null,
  keyspace: null,
  nowMs: () => 0,
  waitMs: 0,
  waitLeftMs: () => 0,
  refuse: () => {},
  print: () => {},
  wait: () => {
    throw new Error("no script runs")
  }
}

const within = (limits: TenantLimits, asked: Partial<RunLimits>): RunLimits => ({
  computeMs: asked.computeMs ?? limits.computeMs,
  waitMs: asked.waitMs ?? limits.waitMs,
  memoryBytes: asked.memoryBytes ?? limits.memoryBytes
})

const stateClosed = "its state was closed"

const runsMaxDefault = 10_000 // runs; each has some 10 KiB while it waits

const statesMaxDefault = 10_000 // worlds that are kept

const waitingMax = 100 // runs that wait for one state

const laterMs = 100 // ms; a guess: nobody knows when a run ends that waits for something outside
