/**
 * Tenants' scripts under their names: what a server keeps, runs and lists for a tenant by its id.
 *
 * Sources and values are the kernel's (bytes as latin1 strings), as servers speak them. A script is compiled when it
 * is set, and again when it is run after its program had to make room for others: ten thousand tenants with a hundred
 * scripts each keep sources, and programs of those alone that are run.
 *
 * What was saved and no longer compiles is kept, told of, and refused with its error when it is run. What lies there
 * for a tenant that does not exist is told of and left alone; a tenant that is made under that id later does not
 * inherit it.
 */
import { Context, Effect, FiberSet, Layer } from "effect"
import { GenServer, Process, type Supervisor } from "../actor/index.ts"
import { CacheClock, type Tenant, TenantNotFound, Tenants } from "../cache/index.ts"
import type { Value } from "../kernel/index.ts"
import { logAnnotation, type MetricReader, metric } from "../telemetry/index.ts"
import type { Account, RunOutcome } from "./Account.ts"
import type { Run } from "./Run.ts"
import type { Runnable, Runs } from "./Runs.ts"
import { functionsOf, resultOf, wrongSeed } from "./Script.ts"
import { type ScriptCore, ScriptEngine } from "./ScriptEngine.ts"
import {
  InvalidScriptName,
  type ScriptError,
  ScriptNotFound,
  type ScriptQuotaExceeded,
  ScriptSyntaxError,
  TooManyScripts
} from "./ScriptError.ts"
import type { ScriptLine, ScriptLogQuery } from "./ScriptLog.ts"
import { isScriptName, ScriptStore, type ScriptStoreService, type ScriptsNotSaved } from "./ScriptStore.ts"

/** A script of a tenant, as lists show it. */
export interface ScriptInfo {
  readonly name: string
  /** Counts the sources that it has had since the start of the process, from 1. */
  readonly version: number
  /** When it was set, or read at the start. */
  readonly updatedAtMs: number
  /** Bytes of its source. */
  readonly bytes: number
  /** The global functions that its source shows. */
  readonly functions: readonly string[]
  /** Why it cannot be run: it was saved and no longer compiles. Null where it can, as far as that is known. */
  readonly error: string | null
}

/** What a tenant's scripts take at the moment, and what they have taken. */
export interface ScriptUsage {
  readonly scripts: number
  /** Runs under way, and of these: those that wait for the thread, and for an answer. */
  readonly runs: number
  readonly queued: number
  readonly suspended: number
  /** Bytes of its worlds outside of the machines. */
  readonly imageBytes: number
  /** Units of fuel since the start. */
  readonly fuel: number
  /** Runs that ended, by outcome, and those that were not let in. */
  readonly outcomes: Readonly<Record<RunOutcome, number>>
  readonly refused: number
  /** Lines of its log that made room for newer ones. */
  readonly logDropped: number
}

export interface ScriptRunOptions {
  /** Ends the run when it fires. */
  readonly signal?: AbortSignal
  /** Where math.random begins: a whole number, or the run is refused as `InvalidArgument`. */
  readonly seed?: number
}

export type ScriptRunError = ScriptError | ScriptSyntaxError | ScriptNotFound | TenantNotFound

export type ScriptSetError =
  | TenantNotFound
  | InvalidScriptName
  | ScriptSyntaxError
  | TooManyScripts
  | ScriptQuotaExceeded
  | ScriptsNotSaved

export interface ScriptsService {
  /**
   * Compiles a script and keeps it, in the place of the one that has its name. Runs under way go on with the old one.
   *
   * @example
   * yield* scripts.set("tenant_123", "count", "function main() return cache.incr('visits') end")
   * const visits = yield* scripts.run("tenant_123", "count", "main", [])
   */
  readonly set: (tenant: string, name: string, source: string) => Effect.Effect<ScriptInfo, ScriptSetError>
  /** Whether there was such a script. */
  readonly remove: (tenant: string, name: string) => Effect.Effect<boolean, TenantNotFound | ScriptsNotSaved>
  /** By name; none for a tenant that does not exist. */
  readonly list: (tenant: string) => readonly ScriptInfo[]
  readonly info: (tenant: string, name: string) => (ScriptInfo & { readonly source: string }) | undefined
  /** The source alone. */
  readonly source: (tenant: string, name: string) => string | undefined
  /**
   * Tells of all scripts that there are, and from then on of each that was set or removed, in the same turn; not of those
   * that go with their tenant. The listener may not throw. The returned function ends it.
   */
  readonly watch: (listener: (tenant: Tenant, name: string) => void) => () => void
  /** Runs a function of a script in a new world; what it returns first. Interrupting the Effect ends the run. */
  readonly run: (
    tenant: string,
    name: string,
    entry: string,
    args: readonly Value[],
    options?: ScriptRunOptions
  ) => Effect.Effect<Value, ScriptRunError>
  /** Runs a function of a source that is not kept. */
  readonly evaluate: (
    tenant: string,
    source: string,
    entry: string,
    args: readonly Value[],
    options?: ScriptRunOptions
  ) => Effect.Effect<Value, ScriptRunError>
  /** What the tenant's scripts have printed, what they were refused, how they failed; oldest first. */
  readonly log: (tenant: string, query?: ScriptLogQuery) => readonly ScriptLine[]
  /** What its scripts take and have taken since the start; undefined for a tenant that does not exist. */
  readonly usage: (tenant: string) => ScriptUsage | undefined
  readonly metrics: readonly MetricReader[]
  /** The process that looks whether what was saved still compiles. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class Scripts extends Context.Tag("mimosa-cache/scripting/Scripts")<Scripts, ScriptsService>() {
  static readonly layer: Layer.Layer<Scripts, never, ScriptEngine | ScriptStore | Tenants | CacheClock> = Layer.scoped(
    Scripts,
    Effect.gen(function* () {
      const { core } = yield* ScriptEngine
      const store = yield* ScriptStore
      const tenants = yield* Tenants
      const clock = yield* CacheClock
      // Files change one at a time, in the order in which it was asked for.
      const files = yield* Effect.makeSemaphore(1)
      const inOrder = <A, E>(change: Effect.Effect<A, E>) => Effect.uninterruptible(files.withPermits(1)(change))
      const later = yield* FiberSet.makeRuntime<never>()
      const removeAll = (tenant: string): void =>
        void later(
          files
            .withPermits(1)(store.removeAll(tenant))
            .pipe(
              Effect.catchAll((error) =>
                Effect.logWarning("the scripts of a tenant that is gone could not be removed").pipe(
                  Effect.annotateLogs({ [logAnnotation.tenant]: tenant, [logAnnotation.reason]: error.message })
                )
              )
            )
        )
      const shelf = new Shelf(core, () => clock.nowMs())
      const left = shelf.restore(store, (id) => tenants.get(id))
      if (left.size > 0) {
        yield* Effect.logWarning("scripts were saved for tenants that do not exist", { tenants: [...left] })
      }
      let isStarting = true
      const stop = tenants.watch({
        onOpen: (tenant) => {
          if (!isStarting && left.delete(tenant.id)) removeAll(tenant.id)
        },
        onClose: (tenant) => {
          if (shelf.drop(tenant)) removeAll(tenant.id)
        }
      })
      isStarting = false
      yield* Effect.addFinalizer(() => Effect.sync(stop))
      const tenantOf = (id: string): Tenant | TenantNotFound => tenants.get(id) ?? new TenantNotFound({ tenant: id })
      const listeners = new Set<(tenant: Tenant, name: string) => void>()
      const { runs } = core
      /** `open` comes when nothing else is in the way: it may have to compile. */
      const start = (
        id: string,
        name: string,
        open: (tenant: Tenant) => Runnable | ScriptSyntaxError | ScriptNotFound | ScriptQuotaExceeded,
        entry: string,
        args: readonly Value[],
        { signal, seed }: ScriptRunOptions
      ) => {
        const tenant = tenantOf(id)
        if (tenant instanceof TenantNotFound) return tenant
        const wrong = wrongSeed(name, seed)
        if (wrong !== undefined) return wrong
        const script = open(tenant)
        if ("_tag" in script) return script
        return runs.start(script, runs.account(tenant), entry, args, {
          ...(signal === undefined ? {} : { signal }),
          ...(seed === undefined ? {} : { seed })
        })
      }
      return Scripts.of({
        set: Effect.fn("Scripts.set")((id: string, name: string, source: string) =>
          Effect.suspend((): Effect.Effect<ScriptInfo, ScriptSetError> => {
            const tenant = tenantOf(id)
            if (tenant instanceof TenantNotFound) return Effect.fail(tenant)
            const stored = shelf.set(tenant, name, source)
            if (!(stored instanceof Stored)) return Effect.fail(stored)
            for (const listener of listeners) listener(tenant, name)
            return Effect.as(inOrder(store.save(id, name, source)), stored.info)
          })
        ),
        remove: Effect.fn("Scripts.remove")((id: string, name: string) =>
          Effect.suspend((): Effect.Effect<boolean, TenantNotFound | ScriptsNotSaved> => {
            const tenant = tenantOf(id)
            if (tenant instanceof TenantNotFound) return Effect.fail(tenant)
            if (!shelf.remove(tenant, name)) return Effect.succeed(false)
            for (const listener of listeners) listener(tenant, name)
            return Effect.as(inOrder(store.remove(id, name)), true)
          })
        ),
        list: (id) => shelf.list(tenants.get(id)),
        info: (id, name) => {
          const stored = shelf.get(tenants.get(id), name)
          return stored === undefined ? undefined : { ...stored.info, source: stored.source }
        },
        source: (id, name) => shelf.get(tenants.get(id), name)?.source,
        watch: (listener) => {
          for (const [tenant, name] of shelf.all()) listener(tenant, name)
          listeners.add(listener)
          return () => void listeners.delete(listener)
        },
        run: (id, name, entry, args, options = {}) =>
          resultOf(() => start(id, name, (tenant) => shelf.open(tenant, name), entry, args, options)),
        evaluate: (id, source, entry, args, options = {}) =>
          resultOf(() => {
            const open = (tenant: Tenant) => {
              const compiled = shelf.compile(runs.account(tenant), unnamed, source)
              return "_tag" in compiled ? compiled : compiled.script
            }
            return start(id, unnamed, open, entry, args, options)
          }),
        log: (id, query) => {
          const tenant = tenants.get(id)
          return tenant === undefined ? [] : runs.account(tenant).log.read(query)
        },
        usage: (id) => {
          const tenant = tenants.get(id)
          if (tenant === undefined) return undefined
          const { counters, images, log, queued, runs: under, suspended } = runs.account(tenant)
          return {
            scripts: shelf.countOf(tenant),
            runs: under,
            queued,
            suspended: suspended.size,
            imageBytes: images.bytes,
            fuel: counters.fuel,
            outcomes: { ...counters.outcomes },
            refused: counters.refused,
            logDropped: log.dropped
          }
        },
        metrics: [{ ...metric.scriptsStored, read: () => shelf.size }],
        children: [GenServer.childSpec(Checker, shelf)]
      })
    })
  )
}

/** A script that is kept. */
class Stored {
  error: ScriptSyntaxError | null = null

  constructor(
    readonly name: string,
    readonly source: string,
    readonly version: number,
    readonly updatedAtMs: number,
    /** Its global functions; null while nobody has looked. */
    private known: readonly string[] | null
  ) {}

  get info(): ScriptInfo {
    const { name, version, updatedAtMs, source, error } = this
    this.known ??= functionsOf(source)
    return { name, version, updatedAtMs, bytes: source.length, functions: this.known, error: error?.message ?? null }
  }
}

/** All scripts that are kept, and the programs of those that are run. */
class Shelf {
  size = 0
  private readonly ofTenant = new Map<Tenant, Map<string, Stored>>()
  /** In the order of their last run, the longest ago first. */
  private readonly programs = new Map<Stored, { readonly script: Runnable; readonly bytes: number }>()
  private programBytes = 0
  /** What nobody has looked at since the start: the tenant, and its script. */
  private readonly unchecked: Array<readonly [Tenant, Stored]> = []
  private readonly runs: Runs

  constructor(
    private readonly core: ScriptCore,
    private readonly nowMs: () => number
  ) {
    this.runs = core.runs
  }

  /** Takes what was saved, and answers the ids of tenants that do not exist. */
  restore({ saved }: ScriptStoreService, find: (id: string) => Tenant | undefined): Set<string> {
    const left = new Set<string>()
    const nowMs = this.nowMs()
    for (const { tenant: id, name, source } of saved) {
      const tenant = find(id)
      if (tenant === undefined) {
        left.add(id)
        continue
      }
      const stored = new Stored(name, source, 1, nowMs, null)
      this.put(tenant, stored)
      this.unchecked.push([tenant, stored])
    }
    return left
  }

  set(
    tenant: Tenant,
    name: string,
    source: string
  ): Stored | InvalidScriptName | TooManyScripts | ScriptSyntaxError | ScriptQuotaExceeded {
    if (!isScriptName(name)) return new InvalidScriptName({ script: name })
    const scripts = this.ofTenant.get(tenant)
    const before = scripts?.get(name)
    const { scriptsMax } = tenant.limits
    if (before === undefined && (scripts?.size ?? 0) >= scriptsMax) {
      return new TooManyScripts({ tenant: tenant.id, limit: scriptsMax })
    }
    const compiled = this.compile(this.runs.account(tenant), name, source)
    if ("_tag" in compiled) return compiled
    if (before !== undefined) this.forget(before)
    const stored = new Stored(name, source, (before?.version ?? 0) + 1, this.nowMs(), compiled.script.functions)
    this.put(tenant, stored)
    this.keep(stored, compiled)
    return stored
  }

  remove(tenant: Tenant, name: string): boolean {
    const scripts = this.ofTenant.get(tenant)
    const stored = scripts?.get(name)
    if (scripts === undefined || stored === undefined) return false
    this.forget(stored)
    scripts.delete(name)
    if (scripts.size === 0) this.ofTenant.delete(tenant)
    this.size--
    return true
  }

  /** Forgets all that a tenant has; whether there was anything. */
  drop(tenant: Tenant): boolean {
    const scripts = this.ofTenant.get(tenant)
    if (scripts === undefined) return false
    for (const name of [...scripts.keys()]) this.remove(tenant, name)
    return true
  }

  get(tenant: Tenant | undefined, name: string): Stored | undefined {
    return tenant === undefined ? undefined : this.ofTenant.get(tenant)?.get(name)
  }

  *all(): Iterable<readonly [Tenant, string]> {
    for (const [tenant, scripts] of this.ofTenant) for (const name of scripts.keys()) yield [tenant, name]
  }

  countOf(tenant: Tenant): number {
    return this.ofTenant.get(tenant)?.size ?? 0
  }

  list(tenant: Tenant | undefined): readonly ScriptInfo[] {
    const scripts = tenant === undefined ? undefined : this.ofTenant.get(tenant)
    return Array.from(scripts?.values() ?? [], ({ info }) => info).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** The script, ready to be run. */
  open(tenant: Tenant, name: string): Runnable | ScriptNotFound | ScriptSyntaxError | ScriptQuotaExceeded {
    const stored = this.get(tenant, name)
    if (stored === undefined) return new ScriptNotFound({ tenant: tenant.id, script: name })
    if (stored.error !== null) return stored.error
    const known = this.programs.get(stored)
    if (known !== undefined) {
      this.programs.delete(stored)
      this.programs.set(stored, known)
      return known.script
    }
    const compiled = this.compile(this.runs.account(tenant), name, stored.source)
    if ("_tag" in compiled) {
      if (compiled instanceof ScriptSyntaxError) stored.error = compiled
      return compiled
    }
    this.keep(stored, compiled)
    return compiled.script
  }

  /** Compiles a source at the tenant's expense. */
  compile(
    account: Account<Run>,
    name: string,
    source: string
  ): { readonly script: Runnable; readonly bytes: number } | ScriptSyntaxError | ScriptQuotaExceeded {
    const { runs, core } = this
    if (!account.hasFuel(runs.scheduler.nowMs)) {
      return runs.quota(name, account, "fuel", account.limits.fuelPerSecond, account.admissionMs)
    }
    return core.compile(name, source, account)
  }

  /** Looks at one of those that were saved: whether it still compiles. Undefined when all have been looked at. */
  check(): { readonly tenant: string; readonly error: ScriptSyntaxError | null } | undefined {
    const next = this.unchecked.pop()
    if (next === undefined) return undefined
    const [tenant, stored] = next
    if (this.get(tenant, stored.name) === stored && stored.error === null && !this.programs.has(stored)) {
      const compiled = this.core.compile(stored.name, stored.source, null)
      if (compiled instanceof ScriptSyntaxError) stored.error = compiled
      else if (this.programBytes + compiled.bytes <= programBytesMax) this.keep(stored, compiled)
    }
    return { tenant: tenant.id, error: stored.error }
  }

  private put(tenant: Tenant, stored: Stored): void {
    const scripts = this.ofTenant.get(tenant)
    if (scripts === undefined) this.ofTenant.set(tenant, new Map([[stored.name, stored]]))
    if (scripts?.has(stored.name) !== true) this.size++
    scripts?.set(stored.name, stored)
  }

  private keep(stored: Stored, compiled: { readonly script: Runnable; readonly bytes: number }): void {
    this.programs.set(stored, compiled)
    this.programBytes += compiled.bytes
    for (const oldest of this.programs.keys()) {
      if (this.programBytes <= programBytesMax || oldest === stored) break
      this.forget(oldest)
    }
  }

  private forget(stored: Stored): void {
    const known = this.programs.get(stored)
    if (known === undefined) return
    this.programs.delete(stored)
    this.programBytes -= known.bytes
  }
}

/** Looks, one script a turn of the event loop, whether what was saved still compiles. */
const Checker = GenServer.define<{ readonly info: never; readonly continue: "check" }>()({
  name: "script checker",
  init: (shelf: Shelf) => GenServer.Ok(shelf, { continue: "check" as const }),
  handleContinue: (_step, shelf) =>
    Effect.gen(function* () {
      const checked = shelf.check()
      if (checked === undefined) return GenServer.NoReply(shelf)
      if (checked.error !== null) {
        yield* Effect.logWarning("a script that was saved no longer compiles").pipe(
          Effect.annotateLogs({
            [logAnnotation.tenant]: checked.tenant,
            [logAnnotation.script]: checked.error.script,
            [logAnnotation.reason]: checked.error.message
          })
        )
      }
      yield* Process.nextTurn
      return GenServer.NoReply(shelf, { continue: "check" as const })
    }),
  inspect: ({ size }) => ({ scripts: size })
})

const unnamed = "script" // in errors and log lines, a source that is not kept

const programBytesMax = 64 << 20 // of the programs that are kept compiled; some 5,000 of them
