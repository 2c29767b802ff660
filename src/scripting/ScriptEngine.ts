/**
 * Lua programs of tenants, as an Effect service: compile a source, run its functions with plain values over the cache
 * of whoever it runs for.
 *
 * One engine a program: its few machines hold whoever runs (sandbox/ScriptMachines), its runs share one scheduler
 * (Runs, Scheduler). The hot path is synchronous and passes no mailbox: the process `scripts` owns the runs, and ends
 * them when it ends.
 */
import { Context, Effect, Layer, type Scope } from "effect"
import { GenServer, type Process, type Supervisor } from "../actor/index.ts"
import { Bus, CacheClock, type TenantLimits, Tenants, tenantLimitsDefault, toBytes } from "../cache/index.ts"
import {
  type HostFunction,
  Refusal,
  ScriptMachines,
  type ScriptMachinesStats,
  ScriptProgram,
  ScriptVm
} from "../sandbox/index.ts"
import { logAnnotation, type MetricReader, metric, repeatedError } from "../telemetry/index.ts"
import { runOutcomes } from "./Account.ts"
import { makeCacheModule } from "./cacheModule.ts"
import { HttpRequester, type HttpSettings } from "./HttpRequester.ts"
import { makeHttpModule } from "./httpModule.ts"
import { makeJsonModule } from "./jsonModule.ts"
import { messageOf, Run } from "./Run.ts"
import { type Runnable, Runs } from "./Runs.ts"
import type { SchedulerClock } from "./Scheduler.ts"
import { makeScript, runnable, type Script } from "./Script.ts"
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
  /** Compiles a source, which is bytes as the kernel has them. */
  readonly compile: (name: string, source: string) => { script: Runnable; bytes: number } | ScriptSyntaxError
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
    const logDefect = yield* repeatedError("a function of the host has failed")
    const { clock = systemClock, machinesMax, imageBytesMax, runsMax, statesMax, fuelPerSliceMs } = settings
    const limits = { ...tenantLimitsDefault, ...nobodysLimits, ...settings.limits }
    const nowMs = () => cacheClock.nowMs()
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
      onDefect: (script, error) => logDefect(error, { [logAnnotation.script]: script })
    })
    const { current } = runs
    const http = settings.http === undefined ? undefined : yield* HttpRequester.make(settings.http)
    const hostTables = {
      cache: makeCacheModule(current),
      json: makeJsonModule(),
      ...(http === undefined ? {} : { http: makeHttpModule(current, http, limits.requestsMax) })
    }
    const invoke = makeInvoke(runs)
    const machines = new ScriptMachines({
      make: () =>
        new ScriptVm({
          hostTables,
          invoke,
          print: (line) => current.run.print(line),
          clock: { epochMs: nowMs, elapsedMs: () => clock.elapsedMs() },
          bytesMax: machineBytesMax
        }),
      ...(machinesMax === undefined ? {} : { machinesMax }),
      ...(imageBytesMax === undefined ? {} : { imageBytesMax })
    })
    const compile: ScriptCore["compile"] = (name, source) => {
      const program = machines.compile(name, source)
      if (!(program instanceof ScriptProgram)) {
        const { line, column, message } = program
        return new ScriptSyntaxError({ script: name, line, column, reason: message })
      }
      const script = runnable(program, source, (opened, { images }) => machines.open(opened, images))
      return { script, bytes: program.bytes }
    }
    const unsafeCompile: ScriptEngineService["unsafeCompile"] = (source, { name = "script" } = {}) => {
      const compiled = compile(name, toBytes(source))
      return compiled instanceof ScriptSyntaxError
        ? compiled
        : makeScript(compiled.script, compiled.bytes, runs, tenants)
    }
    const stop = tenants.watch({ onOpen() {}, onClose: (tenant) => runs.close(tenant) })
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
      children: [GenServer.childSpec(Owner, { runs, machines })],
      core: { runs, compile }
    })
  })

/** Owns the runs: when it ends, or is killed, so do they, and whoever starts one afterwards finds a clean house. */
const Owner = GenServer.define<{ readonly info: never }>()({
  name: "scripts",
  init: (owned: { readonly runs: Runs; readonly machines: ScriptMachines }) =>
    Effect.as(
      Effect.addFinalizer(() => Effect.sync(() => owned.runs.endEverything("the process of the scripts has ended"))),
      GenServer.Ok(owned)
    ),
  inspect: ({ runs, machines }) => ({ ...statsOf(runs, machines) })
})

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
