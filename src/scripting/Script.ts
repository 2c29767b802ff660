/**
 * Scripts as a program has them: compiled once, run with plain values, their outcomes as Effects with typed errors.
 *
 * A run has a world of its own, which begins with the script's chunk and ends with the run; a state keeps one for many
 * runs. A short run that nobody is in the way of has ended when the Effect is first looked at: it costs no turn of the
 * event loop.
 */
import { Effect } from "effect"
import {
  fromValue,
  type Input,
  type InvalidTenant,
  InvalidValue,
  lossyText,
  type Output,
  type PrefixTaken,
  type TenantExists,
  type TenantsService,
  type TooManyTenants,
  tenantLimitRanges,
  toValue
} from "../cache/index.ts"
import type { Value } from "../kernel/index.ts"
import { type LuaValue, parseLua, type ScriptProgram } from "../sandbox/index.ts"
import type { Account } from "./Account.ts"
import { refusedGlobalName } from "./GlobalNames.ts"
import { asPart } from "./LuaData.ts"
import { type HostFunctions, Run, type RunLimits } from "./Run.ts"
import { KeptState, type Runnable, type RunRequest, type Runs } from "./Runs.ts"
import { InvalidArgument, type ScriptError } from "./ScriptError.ts"

/** A function of the program that a script may call by its name. What it throws is a Lua error with that message. */
export type HostFunctionInput = (...args: Output[]) => Input | undefined | Promise<Input | undefined>

/** What a state keeps from run to run. */
export interface StateOptions {
  /** Whose cache it uses: the tenant with this prefix, made where there is none. Without it `cache` refuses. */
  readonly cachePrefix?: string
  /** Frozen globals, beside those of the tenant's environment and before them. */
  readonly env?: { readonly [name: string]: Input }
  readonly functions?: { readonly [name: string]: HostFunctionInput }
  /** Where math.random begins: the same seed, the same numbers. Default: somewhere new each time. */
  readonly seed?: number
  /** Default: those of the tenant. */
  readonly limits?: Partial<RunLimits>
  /** Is given each line that the script prints, beside the tenant's log. */
  readonly print?: (line: string) => void
}

export interface RunOptions extends StateOptions {
  /** Ends the run when it fires. */
  readonly signal?: AbortSignal
}

/** What may be said about one run of a state. */
export type StateRunOptions = Pick<RunOptions, "limits" | "print" | "seed" | "signal">

/** Those of tenants are about `cachePrefix`. */
export type RunError = ScriptError | InvalidTenant | PrefixTaken | TenantExists | TooManyTenants

/** A world that is kept: what a run leaves in its globals is there for the next one. */
export interface ScriptState {
  readonly runMain: (args?: readonly Input[], options?: StateRunOptions) => Effect.Effect<Output, RunError>
  /**
   * Runs a function of the script behind those runs of this state that have not ended, of which there may be 100.
   *
   * A Lua error leaves the state as it is. A run that had to be stopped (its time, an interruption, a kill) takes the
   * state with it: the next run finds a new one.
   */
  readonly run: (name: string, args?: readonly Input[], options?: StateRunOptions) => Effect.Effect<Output, RunError>
  /**
   * `run` without Effect: look at `isEnded`, `value` and `error`, or set `onEnd`. Arguments are the kernel's values.
   */
  readonly unsafeRun: (name: string, args?: readonly Value[], options?: StateRunOptions) => Run | RunError
  /** Ends what runs in it and gives its memory back. */
  readonly close: Effect.Effect<void>
}

export interface Script {
  readonly name: string
  /** The global functions that its chunk defines, as its source shows them. */
  readonly functions: readonly string[]
  /** Bytes that it costs the process, beside its source. */
  readonly bytes: number
  /**
   * Runs the function `main` in a new world, and answers the first value that it returns.
   *
   * @example
   * const count = yield* script.runMain(["alice"], { cachePrefix: "tenant_123" })
   */
  readonly runMain: (args?: readonly Input[], options?: RunOptions) => Effect.Effect<Output, RunError>
  /** Runs another global function in a new world. Interrupting the Effect ends the run. */
  readonly run: (name: string, args?: readonly Input[], options?: RunOptions) => Effect.Effect<Output, RunError>
  /**
   * `run` without Effect: look at `isEnded`, `value` and `error`, or set `onEnd`. Arguments are the kernel's values.
   */
  readonly unsafeRun: (name: string, args?: readonly Value[], options?: RunOptions) => Run | RunError
  /** A world that is kept between runs, until it is closed or its tenant is removed. */
  readonly createState: (options?: StateOptions) => Effect.Effect<ScriptState, RunError>
}

/** A script of which worlds can be opened. */
export const runnable = (
  program: ScriptProgram,
  source: string,
  open: (program: ScriptProgram, account: Account<Run>) => ReturnType<Runnable["open"]>
): Runnable => ({
  name: program.name,
  functions: functionsOf(source),
  open: (account) => open(program, account)
})

/** The global functions of a source that Lua has compiled. */
export const functionsOf = (source: string): readonly string[] => [...(parseLua(source)?.functions ?? [])]

/** Units of fuel for a byte of it: 21 for plain code, 34 for the densest. */
export const readFuelPerByte = 30

/** The script over the program's own values. */
export const makeScript = (
  script: Runnable,
  bytes: number,
  runs: Runs,
  tenants: Pick<TenantsService, "open">
): Script => {
  const unsafeRun = (entry: string, args: readonly Value[] = [], options: RunOptions = noOptions): Run | RunError => {
    const account = accountOf(script.name, runs, tenants, options.cachePrefix)
    if ("_tag" in account) return account
    const request = requestOf(script.name, options)
    return request instanceof InvalidArgument ? request : runs.start(script, account, entry, args, request)
  }
  const run = (entry: string, inputs: readonly Input[] = [], options: RunOptions = noOptions) =>
    outcome(() => {
      const args = argumentsOf(script.name, inputs)
      return args instanceof InvalidArgument ? args : unsafeRun(entry, args, options)
    })
  return {
    name: script.name,
    functions: script.functions,
    bytes,
    unsafeRun,
    run,
    runMain: (inputs, options) => run("main", inputs, options),
    createState: (options = noOptions) =>
      Effect.suspend(() => {
        const account = accountOf(script.name, runs, tenants, options.cachePrefix)
        if ("_tag" in account) return Effect.fail(account)
        const request = requestOf(script.name, options)
        if (request instanceof InvalidArgument) return Effect.fail(request)
        const state = runs.keep(script, account, request)
        return state instanceof KeptState ? Effect.succeed(makeState(script.name, state)) : Effect.fail(state)
      })
  }
}

const makeState = (script: string, state: KeptState): ScriptState => {
  const unsafeRun = (entry: string, args: readonly Value[] = [], options: StateRunOptions = noOptions) => {
    const request = options === noOptions ? noRequest : requestOf(script, options)
    return request instanceof InvalidArgument ? request : state.start(entry, args, request)
  }
  const run = (entry: string, inputs: readonly Input[] = [], options: StateRunOptions = noOptions) =>
    outcome(() => {
      const args = argumentsOf(script, inputs)
      return args instanceof InvalidArgument ? args : unsafeRun(entry, args, options)
    })
  return {
    unsafeRun,
    run,
    runMain: (inputs, options) => run("main", inputs, options),
    close: Effect.sync(() => state.close())
  }
}

/** What the run gives, in a program's values. Begins it when it is first looked at; an interruption ends it. */
const outcome = (begin: () => Run | RunError): Effect.Effect<Output, RunError> => Effect.map(resultOf(begin), fromValue)

/** What the run gives, as the kernel has it. One `async`, so that no interruption comes between start and listening. */
export const resultOf = <Refused>(begin: () => Run | Refused): Effect.Effect<Value, Refused | ScriptError> =>
  Effect.async((resume) => {
    const run = begin()
    if (!(run instanceof Run)) {
      resume(Effect.fail(run))
      return
    }
    const end = (): void => resume(run.error === null ? Effect.succeed(run.value as Value) : Effect.fail(run.error))
    if (run.isEnded) {
      end()
      return
    }
    run.onEnd = end
    return Effect.sync(() => run.interrupt("its fiber was interrupted"))
  })

const accountOf = (
  script: string,
  runs: Runs,
  tenants: Pick<TenantsService, "open">,
  prefix: string | undefined
): Account<Run> | RunError => {
  if (prefix === undefined) return runs.account(null)
  if (typeof prefix !== "string") {
    return new InvalidArgument({ script, path: "cachePrefix", reason: `is to be a text, not ${typeof prefix}` })
  }
  const tenant = tenants.open(prefix)
  return "_tag" in tenant ? tenant : runs.account(tenant)
}

/** A program's arguments as the kernel has them. */
export const argumentsOf = (script: string, inputs: readonly Input[]): readonly Value[] | InvalidArgument => {
  const values: Value[] = []
  for (let i = 0; i < inputs.length; i++) {
    const value = toValue(inputs[i])
    if (value instanceof InvalidValue) return invalid(script, `argument ${i + 1}`, value)
    values.push(value)
  }
  return values
}

const requestOf = (script: string, options: RunOptions): RunRequest | InvalidArgument => {
  if (options === noOptions) return noRequest
  const { env, functions, seed, limits, print, signal } = options
  const wrong = limits === undefined ? undefined : wrongLimit(script, limits)
  if (wrong !== undefined) return wrong
  const noSeed = wrongSeed(script, seed)
  if (noSeed !== undefined) return noSeed
  const values = env === undefined ? undefined : envOf(script, env)
  if (values instanceof InvalidArgument) return values
  const hostFunctions = functions === undefined ? undefined : functionsFrom(script, functions)
  if (hostFunctions instanceof InvalidArgument) return hostFunctions
  const hasGlobals = values !== undefined || hostFunctions !== undefined
  return {
    ...(hasGlobals
      ? { globals: { ...(values && { values }), ...(hostFunctions && { functions: [...hostFunctions.keys()] }) } }
      : {}),
    ...(hostFunctions && { hostFunctions }),
    ...(seed !== undefined && { seed }),
    ...(limits && { limits }),
    ...(print && { print: (line: string) => print(lossyText(line)) }),
    ...(signal && { signal })
  }
}

/** Why this is no place for math.random to begin, if so. */
export const wrongSeed = (script: string, seed: number | undefined): InvalidArgument | undefined =>
  seed === undefined || Number.isSafeInteger(seed)
    ? undefined
    : new InvalidArgument({ script, path: "seed", reason: `is to be a whole number, not ${String(seed)}` })

const noOptions: RunOptions = {}

const noRequest: RunRequest = {}

const wrongLimit = (script: string, limits: Partial<RunLimits>): InvalidArgument | undefined => {
  for (const name of ["computeMs", "waitMs", "memoryBytes"] as const) {
    const value = limits[name]
    const [first, last] = limitRanges[name]
    if (value === undefined || (value >= first && value <= last)) continue
    const reason = `is to be a number from ${first} to ${last}, not ${String(value)}`
    return new InvalidArgument({ script, path: `limits.${name}`, reason })
  }
  return undefined
}

const limitRanges: { readonly [Name in keyof RunLimits]: readonly [number, number] } = {
  computeMs: [0.01, tenantLimitRanges.computeMs[1]],
  waitMs: tenantLimitRanges.waitMs,
  memoryBytes: [128 << 10, tenantLimitRanges.memoryBytes[1]] // Lua's libraries take 70 KiB
}

const envOf = (
  script: string,
  env: { readonly [name: string]: Input }
): { readonly [name: string]: LuaValue } | InvalidArgument => {
  const values: Record<string, LuaValue> = Object.create(null)
  for (const [name, input] of Object.entries(env)) {
    const refused = refusedName(script, `env.${name}`, name)
    if (refused !== undefined) return refused
    const value = toValue(input)
    if (value instanceof InvalidValue) return invalid(script, `env.${name}`, value)
    values[name] = asPart(value)
  }
  return values
}

const functionsFrom = (
  script: string,
  functions: { readonly [name: string]: HostFunctionInput }
): HostFunctions | InvalidArgument => {
  const made = new Map<string, (args: readonly LuaValue[]) => LuaValue | Promise<LuaValue>>()
  for (const [name, callee] of Object.entries(functions)) {
    const path = `functions.${name}`
    const refused = refusedName(script, path, name)
    if (refused !== undefined) return refused
    if (typeof callee !== "function") {
      return new InvalidArgument({ script, path, reason: `is to be a function, not ${typeof callee}` })
    }
    made.set(name, (args) => {
      const answer = callee(...args.map((arg) => fromValue(arg as Value)))
      return isThenable(answer) ? Promise.resolve(answer).then(answered) : answered(answer)
    })
  }
  return made
}

/** A promise of anybody's: a query of a database library is none of Node's. */
const isThenable = (value: unknown): value is PromiseLike<Input | undefined> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function"

const answered = (answer: Input | undefined): LuaValue => {
  if (answer === undefined) return null
  const value = toValue(answer)
  if (value instanceof InvalidValue) throw value
  return value
}

const refusedName = (script: string, path: string, name: string): InvalidArgument | undefined => {
  const reason = refusedGlobalName(name)
  return reason === undefined ? undefined : new InvalidArgument({ script, path, reason })
}

const invalid = (script: string, path: string, { path: inside, reason }: InvalidValue): InvalidArgument =>
  new InvalidArgument({ script, path: `${path}${inside.slice(1)}`, reason: `cannot be given to Lua: ${reason}` })
