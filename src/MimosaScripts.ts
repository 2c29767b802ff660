/**
 * Scripts for programs without Effect: those that the program compiles for itself, and those that a tenant keeps under
 * names. Promises reject with the engine's errors (docs/errors.md).
 */
import { Effect } from "effect"
import { fromValue, type Input, type Output, type Tenant, TenantNotFound, toBytes, toText } from "./cache/index.ts"
import type { MimosaProgram } from "./MimosaProgram.ts"
import {
  argumentsOf,
  InvalidArgument,
  type RunOptions,
  type Script,
  ScriptEngine,
  type ScriptInfo,
  type ScriptLine,
  type ScriptLogQuery,
  type ScriptRunOptions,
  type ScriptState,
  type ScriptStats,
  Scripts,
  type ScriptsService,
  type ScriptUsage,
  type StateOptions,
  type StateRunOptions
} from "./scripting/index.ts"

/** The scripts that a program compiles for itself. */
export class MimosaScripts {
  constructor(private readonly program: MimosaProgram) {}

  /**
   * Compiles a source; the name is that of its errors and log lines. Nothing of it is run. Rejects with
   * `ScriptSyntaxError`.
   *
   * @example
   * const script = await mimosa.scripts.compile('function main(name) return cache.incr("visits:" .. name) end')
   * const visits = await script.runMain(["alice"], { cachePrefix: "tenant_123" })
   */
  compile(source: string, options?: { readonly name?: string }): Promise<MimosaScript> {
    const { program } = this
    return program.run(
      Effect.flatMap(ScriptEngine, (engine) =>
        Effect.map(engine.compile(source, options), (script) => new MimosaScript(program, script))
      )
    )
  }

  /** How the engine stands: runs, states and machines of all tenants. */
  stats(): Promise<ScriptStats> {
    return this.program.run(Effect.map(ScriptEngine, ({ stats }) => stats))
  }
}

/**
 * A compiled script. Each run has a world of its own, which ends with it; `createState` keeps one.
 *
 * Runs reject with `ScriptRuntimeError`, `ScriptTimeout`, `ScriptOutOfMemory`, `ScriptKilled`, `ScriptQuotaExceeded`,
 * `ScriptInterrupted`, `FunctionNotFound` or `InvalidArgument`; with `InvalidTenant`, `PrefixTaken`, `TenantExists` or
 * `TooManyTenants` where there can be no tenant with the `cachePrefix`. What a run has written stays written.
 */
export class MimosaScript {
  /** Made by `mimosa.scripts.compile`. */
  constructor(
    private readonly program: MimosaProgram,
    private readonly script: Script
  ) {}

  get name(): string {
    return this.script.name
  }

  /** The global functions that it defines, as its source shows them. */
  get functions(): readonly string[] {
    return this.script.functions
  }

  /** Bytes that it costs the process, beside its source. */
  get bytes(): number {
    return this.script.bytes
  }

  /** Runs the function `main`, and answers the first value that it returns. */
  runMain(args?: readonly Input[], options?: RunOptions): Promise<Output> {
    return this.program.run(this.script.runMain(args, options))
  }

  /**
   * Runs another global function.
   *
   * @example
   * const allowed = await script.run("check_rate_limit", ["alice", 100, 60], {
   *   cachePrefix: "tenant_123",
   *   functions: { now_ms: () => Date.now() },
   *   signal: AbortSignal.timeout(200)
   * })
   */
  run(name: string, args?: readonly Input[], options?: RunOptions): Promise<Output> {
    return this.program.run(this.script.run(name, args, options))
  }

  /**
   * A world that is kept between runs, until it is closed or its tenant is removed. Rejects as runs do.
   *
   * @example
   * const game = await script.createState({ cachePrefix: "tenant_123", seed: 1 })
   * await game.run("move", ["north"])
   * await game.close()
   */
  createState(options?: StateOptions): Promise<MimosaScriptState> {
    const { program } = this
    return program.run(Effect.map(this.script.createState(options), (state) => new MimosaScriptState(program, state)))
  }
}

/** A world that is kept: what a run leaves in its globals is there for the next one. */
export class MimosaScriptState {
  /** Made by `createState`. */
  constructor(
    private readonly program: MimosaProgram,
    private readonly state: ScriptState
  ) {}

  /** Runs the function `main`, as `run` does. */
  runMain(args?: readonly Input[], options?: StateRunOptions): Promise<Output> {
    return this.program.run(this.state.runMain(args, options))
  }

  /**
   * Runs a function behind those runs of this state that have not ended, of which there may be 100. A Lua error leaves the
   * state as it is. A run that had to be stopped takes it along: the next run finds a new one.
   */
  run(name: string, args?: readonly Input[], options?: StateRunOptions): Promise<Output> {
    return this.program.run(this.state.run(name, args, options))
  }

  /** Ends what runs in it and gives its memory back. */
  close(): Promise<void> {
    return this.program.run(this.state.close)
  }
}

/** The scripts that a tenant keeps under names; with a `dataDir` they survive a restart. */
export class MimosaTenantScripts {
  /** Made by `tenant.scripts`. */
  constructor(
    private readonly program: MimosaProgram,
    private readonly owner: Tenant
  ) {}

  /**
   * Compiles a script and keeps it, in the place of the one that has its name. Rejects with `InvalidScriptName`,
   * `ScriptSyntaxError`, `TooManyScripts` or `ScriptQuotaExceeded`, and nothing has changed; or with `ScriptsNotSaved`,
   * and it is kept until the process ends.
   */
  set(name: string, source: string): Promise<ScriptInfo> {
    return this.ask((scripts, id) => scripts.set(id, name, toBytes(source)))
  }

  /** Whether there was such a script. Rejects with `ScriptsNotSaved`. */
  remove(name: string): Promise<boolean> {
    return this.ask((scripts, id) => scripts.remove(id, name))
  }

  /** By name. */
  list(): Promise<readonly ScriptInfo[]> {
    return this.ask((scripts, id) => Effect.sync(() => scripts.list(id)))
  }

  /** One of them with its source; undefined where there is none. */
  info(name: string): Promise<(ScriptInfo & { readonly source: string }) | undefined> {
    return this.ask((scripts, id) =>
      Effect.sync(() => {
        const info = scripts.info(id, name)
        return info === undefined ? undefined : { ...info, source: toText(info.source) ?? info.source }
      })
    )
  }

  /**
   * Runs a function of a script in a new world, and answers the first value that it returns. Rejects with
   * `ScriptNotFound`, with `ScriptSyntaxError` for one that was saved and no longer compiles, and as `MimosaScript` does.
   *
   * @example
   * await tenant.scripts.set("counter", "function main() return cache.incr('visits') end")
   * const visits = await tenant.scripts.run("counter", "main")
   */
  run(name: string, entry: string, inputs: readonly Input[] = [], options?: ScriptRunOptions): Promise<Output> {
    const args = argumentsOf(name, inputs)
    return this.ask((scripts, id) =>
      args instanceof InvalidArgument
        ? Effect.fail(args)
        : Effect.map(scripts.run(id, name, entry, args, options), fromValue)
    )
  }

  /**
   * What the tenant's scripts have printed, what they were refused and how they failed, oldest first: the first `count`
   * lines behind number `after`, or the last `count` (100).
   */
  log(query?: ScriptLogQuery): Promise<readonly ScriptLine[]> {
    return this.ask((scripts, id) => Effect.sync(() => scripts.log(id, query)))
  }

  /** What its scripts take, and have taken since the start. */
  usage(): Promise<ScriptUsage> {
    return this.ask((scripts, id) => {
      const usage = scripts.usage(id)
      return usage === undefined ? Effect.fail(new TenantNotFound({ tenant: id })) : Effect.succeed(usage)
    })
  }

  private ask<A, E>(question: (scripts: ScriptsService, id: string) => Effect.Effect<A, E>): Promise<A> {
    const { owner } = this
    return this.program.run(
      Effect.flatMap(
        Scripts,
        (scripts): Effect.Effect<A, E | TenantNotFound> =>
          owner.isOpen ? question(scripts, owner.id) : Effect.fail(new TenantNotFound({ tenant: owner.id }))
      )
    )
  }
}
