/**
 * Lua programs of tenants, as an Effect service: compile a source, run its functions with plain values over the cache
 * of whoever it runs for.
 *
 * One engine a program: its few machines hold whoever runs (sandbox/ScriptMachines), its runs share one scheduler
 * (Runs, Scheduler). The hot path is synchronous and passes no mailbox: the process `scripts` owns the runs, and ends
 * them when it ends.
 */
import { Context, Effect, Layer, Option, Runtime, type Scope } from "effect"
import { GenServer, Process, type Supervisor } from "../actor/index.ts"
import {
  Bus,
  CacheClock,
  CacheFills,
  type Tenant,
  type TenantLimits,
  Tenants,
  tenantLimitsDefault,
  toBytes
} from "../cache/index.ts"
import {
  type HostFunction,
  Refusal,
  ScriptMachines,
  type ScriptMachinesStats,
  ScriptProgram,
  ScriptVm
} from "../sandbox/index.ts"
import { logAnnotation, type MetricReader, metric, repeatedError } from "../telemetry/index.ts"
import { type Account, runOutcomes } from "./Account.ts"
import { makeCacheModule } from "./cacheModule.ts"
import { refusedGlobalName } from "./GlobalNames.ts"
import { HttpRequester, type HttpSettings } from "./HttpRequester.ts"
import { makeHttpModule } from "./httpModule.ts"
import { makeJsonModule } from "./jsonModule.ts"
import { messageOf, Run } from "./Run.ts"
import { type Runnable, Runs } from "./Runs.ts"
import type { SchedulerClock } from "./Scheduler.ts"
import { makeScript, readFuelPerByte, runnable, type Script } from "./Script.ts"
import { ScriptSyntaxError } from "./ScriptError.ts"

export interface ScriptEngineService {
  /**
   * Compiles a source; the name is that of its errors and log lines. Nothing of it is run.
   *
   * @example
   * const script = yield* engine.compile("function main(name) return cache.incr(name) end")
   * const visits = yield* script.runMain(["alice"], { cachePrefix: "tenant_123" })
   */
  readonly compile: (source: string, options?: { readonly name?: string }) => Effect.Effect<Script, ScriptSyntaxError>
  /** `compile` without Effect. */
  readonly unsafeCompile: (source: string, options?: { readonly name?: string }) => Script | ScriptSyntaxError
  readonly stats: ScriptStats
  readonly metrics: readonly MetricReader[]
  /** The process that owns the runs, for the supervision tree. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
  /** For this room: the runs themselves, and what opens worlds for them. */
  readonly core: ScriptCore
}

export interface ScriptCore {
  readonly runs: Runs
  /** Compiles a source, which is bytes as the kernel has them; `payer` is charged for the work, if there is one. */
  readonly compile: (
    name: string,
    source: string,
    payer: Account<Run> | null
  ) => { readonly script: Runnable; readonly bytes: number } | ScriptSyntaxError
}

/** How it stands at the moment. */
export interface ScriptStats extends ScriptMachinesStats {
  /** Runs that have begun and not ended, and of these: those that wait for the thread, and for an answer. */
  readonly runs: number
  readonly queued: number
  readonly suspended: number
  readonly states: number
}

export interface ScriptSettings {
  /** Runs at once, of all tenants. Default 10,000. */
  readonly runsMax?: number
  /** States that are kept at once, of all tenants. Default 10,000. */
  readonly statesMax?: number
  /** Machines in which worlds take turns. Default 16, of some 0.3 MB each. */
  readonly machinesMax?: number
  /** Bytes of the worlds that wait outside of them. Default 256 MiB. */
  readonly imageBytesMax?: number
  /** Of runs without a `cachePrefix`. Default: a tenant's, but 10,000 runs at once and fuel without end. */
  readonly limits?: Partial<TenantLimits>
  /** What scripts may reach by `http.request`. Default: there is no `http`. */
  readonly http?: HttpSettings
  /** Where math.random begins, where nobody asks for a seed. Default: at random. */
  readonly random?: () => number
  /** What time passes by. Default: the process' own, and its event loop. */
  readonly clock?: SchedulerClock
  /** Above zero: slices of so many units of fuel for each ms, and no clock in the machines: the same run each time. */
  readonly fuelPerSliceMs?: number
}

export class ScriptEngine extends Context.Tag("mimosa-cache/scripting/ScriptEngine")<
  ScriptEngine,
  ScriptEngineService
>() {
  static readonly layer = (
    settings: ScriptSettings = {}
  ): Layer.Layer<ScriptEngine, never, Tenants | CacheClock | Bus> => Layer.scoped(ScriptEngine, make(settings))
}

const make = (
  settings: ScriptSettings
): Effect.Effect<ScriptEngineService, never, Tenants | CacheClock | Bus | Scope.Scope> =>
  Effect.gen(function* () {
    const tenants = yield* Tenants
    const cacheClock = yield* CacheClock
    const bus = yield* Bus
    const fills = yield* Effect.serviceOption(CacheFills) // whoever runs scripts alone fills nothing
    const logDefect = yield* repeatedError("a function of the host has failed")
    const { clock = systemClock, machinesMax, imageBytesMax, runsMax, statesMax, fuelPerSliceMs } = settings
    const limits = { ...tenantLimitsDefault, ...nobodysLimits, ...settings.limits }
    const nowMs = () => cacheClock.nowMs()
    const house: House = { onChange: () => {} }
    const runs = new Runs({
      clock: {
        elapsedMs: () => clock.elapsedMs(),
        defer: (turn) => clock.defer(turn),
        after: (ms, call) => clock.after(ms, call),
        nowMs
      },
      bus,
      limits,
      random: settings.random ?? (() => Math.floor(Math.random() * 2 ** 31)),
      ...(runsMax === undefined ? {} : { runsMax }),
      ...(statesMax === undefined ? {} : { statesMax }),
      ...(fuelPerSliceMs === undefined ? {} : { fuelPerSliceMs }),
      onDefect: (script, error) => logDefect(error, { [logAnnotation.script]: script }),
      onQuiet: () => house.onChange(0)
    })
    const { current } = runs
    const http = settings.http === undefined ? undefined : yield* HttpRequester.make(settings.http)
    const hostTables = {
      cache: makeCacheModule(current, Option.getOrUndefined(fills)),
      json: makeJsonModule(),
      ...(http === undefined ? {} : { http: makeHttpModule(current, http, limits.requestsMax) })
    }
    const invoke = makeInvoke(runs)
    const machines = new ScriptMachines({
      make: () => {
        house.onChange(1)
        return new ScriptVm({
          hostTables,
          invoke,
          print: (line) => current.run.print(line),
          clock: { epochMs: nowMs, elapsedMs: () => clock.elapsedMs() },
          bytesMax: machineBytesMax
        })
      },
      ...(machinesMax === undefined ? {} : { machinesMax }),
      ...(imageBytesMax === undefined ? {} : { imageBytesMax })
    })
    const compile: ScriptCore["compile"] = (name, source, payer) => {
      const before = machines.compileFuel
      const program = machines.compile(name, source)
      payer?.spend(machines.compileFuel - before)
      if (!(program instanceof ScriptProgram)) {
        const { line, column, message } = program
        return new ScriptSyntaxError({ script: name, line, column, reason: message })
      }
      payer?.spend(source.length * readFuelPerByte)
      const script = runnable(program, source, (opened, { images }) => machines.open(opened, images))
      return { script, bytes: program.bytes }
    }
    const unsafeCompile: ScriptEngineService["unsafeCompile"] = (source, { name = "script" } = {}) => {
      const compiled = compile(name, toBytes(source), null)
      return compiled instanceof ScriptSyntaxError
        ? compiled
        : makeScript(compiled.script, compiled.bytes, runs, tenants)
    }
    const runtime = yield* Effect.runtime<never>()
    const known = new WeakSet<Tenant["env"]>()
    const warn = ({ id, env }: Tenant): void => {
      const names = known.has(env) ? [] : [...env.keys()].filter((name) => refusedGlobalName(name) !== undefined)
      known.add(env)
      if (names.length > 0) Runtime.runSync(runtime)(ignored(id, names))
    }
    const stop = tenants.watch({ onOpen: warn, onChange: warn, onClose: (tenant) => runs.close(tenant) })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        stop()
        runs.endEverything("the engine has stopped")
      })
    )
    return ScriptEngine.of({
      compile: (source, options) =>
        Effect.suspend(() => {
          const script = unsafeCompile(source, options)
          return script instanceof ScriptSyntaxError ? Effect.fail(script) : Effect.succeed(script)
        }),
      unsafeCompile,
      get stats() {
        return statsOf(runs, machines)
      },
      metrics: [...metricsOf(runs, machines), ...(http === undefined ? [] : requestMetrics(http))],
      children: [GenServer.childSpec(Owner, { runs, machines, house })],
      core: { runs, compile }
    })
  })

/** Whom the engine tells that there is a machine more, or that it has become quiet. */
interface House {
  /** `coming`: machines that are being made. */
  onChange: (coming: number) => void
}

interface Owned {
  readonly runs: Runs
  readonly machines: ScriptMachines
  readonly house: House
}

interface OwnerState extends Owned {
  /** Runs while there is a look to come. */
  timer: Process.TimerRef | null
  /** Steps of all machines by the last look. */
  steps: number
}

/**
 * Owns the runs: when it ends, or is killed, so do they, and whoever starts one afterwards finds a clean house.
 *
 * When nothing has run for a while it gives up the machines that nobody needs. It looks only as long as there is
 * something to wait for, so that a program that has nothing else to do can end.
 */
const Owner = GenServer.define<{ readonly info: "look" }>()({
  name: "scripts",
  init: (owned: Owned) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const { runs, machines, house } = owned
      const state: OwnerState = { ...owned, timer: null, steps: -1 }
      const onChange = (coming: number) => {
        if (state.timer !== null || machines.size + coming <= sparesMax) return
        state.timer = Process.unsafeSendAfter(self, "look", idleMs)
      }
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          house.onChange = () => {}
          state.timer?.cancel()
          runs.endEverything("the process of the scripts has ended")
        })
      )
      house.onChange = onChange
      onChange(0)
      return GenServer.Ok(state)
    }),
  handleInfo: (_look, state) =>
    Effect.sync(() => {
      const { machines, house } = state
      const isIdle = machines.stepCount === state.steps
      state.timer = null
      state.steps = machines.stepCount
      if (isIdle) machines.tidy(sparesMax)
      else house.onChange(0)
      return GenServer.NoReply(state)
    }),
  inspect: ({ runs, machines }) => ({ ...statsOf(runs, machines) })
})

const idleMs = 1000 // without a step; long beside a machine's making (1 ms)

const sparesMax = 2 // machines that stay when nobody is in them, so that the next run finds one

const ignored = (tenant: string, names: readonly string[]): Effect.Effect<void> =>
  Effect.logWarning("names of a tenant's environment are ignored, since scripts have something of that name").pipe(
    Effect.annotateLogs({ [logAnnotation.tenant]: tenant, names: names.join(", ") })
  )

/** Calls a function of the program for a script; the first argument is the function's name. */
const makeInvoke =
  ({ current }: Runs): HostFunction =>
  (call) => {
    const { run } = current
    const name = call.string(1) ?? ""
    const callee = run instanceof Run ? run.hostFunctions?.get(name) : undefined
    if (callee === undefined) return call.fail(`this run has no function '${name}'`)
    const args = []
    for (let i = 2; i <= call.count; i++) {
      const value = call.value(i)
      if (value instanceof Refusal) {
        return call.fail(`${name}: ${value.message.replace(/^argument \d+/, `argument ${i - 1}`)}`)
      }
      args.push(value)
    }
    let answer: ReturnType<typeof callee>
    try {
      answer = callee(args)
    } catch (error) {
      return call.fail(messageOf(error))
    }
    if (!(answer instanceof Promise)) return call.returnValue(answer)
    const later = answer
    later.catch(() => {}) // nobody may be there to hear of it
    run.wait(() => later)
    call.wait()
  }

const statsOf = (runs: Runs, machines: ScriptMachines): ScriptStats => ({
  ...machines.stats,
  runs: runs.size,
  queued: runs.scheduler.queued,
  suspended: runs.suspended,
  states: runs.states
})

const metricsOf = (runs: Runs, machines: ScriptMachines): readonly MetricReader[] => {
  const { counters, scheduler } = runs
  return [
    {
      ...metric.scriptRuns,
      read: () => runOutcomes.map((outcome) => [{ outcome }, counters.outcomes[outcome]] as const)
    },
    {
      ...metric.scriptsRefused,
      read: () => Object.entries(counters.refused).map(([what, count]) => [{ what }, count] as const)
    },
    { ...metric.scriptFuel, read: () => counters.fuel },
    { ...metric.scriptSteps, read: () => scheduler.counters.steps },
    { ...metric.scriptsHeld, read: () => scheduler.counters.held },
    { ...metric.scriptDefects, read: () => counters.defects },
    {
      ...metric.scriptsUnderWay,
      read: () => [
        [{ state: "queued" }, scheduler.queued] as const,
        [{ state: "suspended" }, runs.suspended] as const,
        [{ state: "all" }, runs.size] as const
      ]
    },
    { ...metric.scriptStates, read: () => runs.states },
    { ...metric.scriptMachines, read: () => machines.stats.machines },
    { ...metric.scriptImages, read: () => machines.stats.images },
    { ...metric.scriptImageBytes, read: () => machines.stats.imageBytes },
    { ...metric.scriptSwaps, read: () => machines.stats.swapsIn },
    { ...metric.scriptKills, read: () => machines.stats.kills },
    { ...metric.scriptLogBytes, read: () => runs.logs.held }
  ]
}

const requestMetrics = ({ stats }: HttpRequester): readonly MetricReader[] => [
  {
    ...metric.scriptRequests,
    read: () => [
      [{ outcome: "answered" }, stats.answers] as const,
      [{ outcome: "refused" }, stats.refused] as const,
      [{ outcome: "busy" }, stats.busy] as const,
      [{ outcome: "failed" }, stats.failed] as const
    ]
  },
  { ...metric.scriptRequestsUnderWay, read: () => stats.underWay }
]

const nobodysLimits: Partial<TenantLimits> = { runsMax: 10_000, fuelPerSecond: Number.POSITIVE_INFINITY }

const machineBytesMax = 10 << 20 // of a machine: a run's 9 MiB at most, and Lua's own part

const systemClock: SchedulerClock = {
  elapsedMs: () => performance.now(),
  defer: (turn) => void setImmediate(turn),
  after: (ms, call) => {
    const timer = setTimeout(call, ms)
    return () => clearTimeout(timer)
  }
}
