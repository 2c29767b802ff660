/**
 * How a script fails, and what the engine refuses. Each error names the script, the line where it is known, what was
 * exceeded, and what would be right.
 */
import { Data } from "effect"

/** Lua cannot read the source. */
export class ScriptSyntaxError extends Data.TaggedError("ScriptSyntaxError")<{
  readonly script: string
  /** Both from 1. */
  readonly line: number
  readonly column: number
  readonly reason: string
}> {
  override get message(): string {
    return `${this.script}:${this.line}:${this.column}: ${this.reason}`
  }
}

/** The script raised an error that nobody in it caught. */
export class ScriptRuntimeError extends Data.TaggedError("ScriptRuntimeError")<{
  readonly script: string
  /** From 1; 0 where it is not known. */
  readonly line: number
  readonly reason: string
  /** Lua's, with positions of the script. */
  readonly traceback: string
}> {
  override get message(): string {
    return `${place(this)}: ${this.reason}`
  }
}

/** The run computed, or waited, longer than it may. What it has written to the cache stays written. */
export class ScriptTimeout extends Data.TaggedError("ScriptTimeout")<{
  readonly script: string
  /** Where it was stopped, or where it stood and waited; 0 where it had not begun. */
  readonly line: number
  readonly kind: "computing" | "waiting"
  readonly limitMs: number
  readonly reason: string
  readonly traceback: string
}> {
  override get message(): string {
    return `${place(this)}: ${this.reason}`
  }
}

/** The run wanted more memory than its world may hold, or than there is for all worlds. */
export class ScriptOutOfMemory extends Data.TaggedError("ScriptOutOfMemory")<{
  readonly script: string
  readonly line: number
  readonly limitBytes: number
  readonly reason: string
  readonly traceback: string
}> {
  override get message(): string {
    return `${place(this)}: ${this.reason}; its world may hold ${this.limitBytes} bytes (memoryBytes)`
  }
}

/** No error could stop it: its machine was taken from under it. A kept state is a new one now. */
export class ScriptKilled extends Data.TaggedError("ScriptKilled")<{
  readonly script: string
  readonly line: number
  readonly reason: string
}> {
  override get message(): string {
    return `${place(this)}: ${this.reason}`
  }
}

/** The tenant, or the engine, has as much at work as it may. Nothing was run. */
export class ScriptQuotaExceeded extends Data.TaggedError("ScriptQuotaExceeded")<{
  readonly script: string
  /** Null for a run that is no tenant's. */
  readonly tenant: string | null
  /**
   * `runs`: of the tenant at once. `fuel`: of the tenant a second. `engine`: runs of all tenants. `state`: runs that
   * wait for one state. `states`: states of all tenants.
   */
  readonly what: "runs" | "fuel" | "engine" | "state" | "states"
  readonly limit: number
  /** When it is worth trying again, from now; for `fuel` it is exact. */
  readonly retryAfterMs: number
}> {
  override get message(): string {
    return `${this.script}: ${quotaText(this)}; try again in ${this.retryAfterMs} ms`
  }
}

/** Its run was ended from outside: the caller's fiber or signal, the state's close, or the tenant's end. */
export class ScriptInterrupted extends Data.TaggedError("ScriptInterrupted")<{
  readonly script: string
  /** Where it stood, from 1; 0 where it had not begun, or that is not known. */
  readonly line: number
  readonly reason: string
}> {
  override get message(): string {
    return `${place(this)}: ended because ${this.reason}`
  }
}

export class FunctionNotFound extends Data.TaggedError("FunctionNotFound")<{
  readonly script: string
  readonly function: string
  /** Those that there are. */
  readonly functions: readonly string[]
}> {
  override get message(): string {
    const { functions } = this
    const known = functions.length === 0 ? "it defines no global function" : `it defines ${functions.join(", ")}`
    return `${this.script}: there is no function '${this.function}'; ${known}`
  }
}

/** An argument, a value of `env`, an option or a result that cannot cross between the program and Lua. */
export class InvalidArgument extends Data.TaggedError("InvalidArgument")<{
  readonly script: string
  /** `argument 2.items[3]`, `env.token`, `cachePrefix`, `result.callback`. */
  readonly path: string
  readonly reason: string
}> {
  override get message(): string {
    return `${this.script}: ${this.path} ${this.reason}`
  }
}

/** The tenant has no script of this name. */
export class ScriptNotFound extends Data.TaggedError("ScriptNotFound")<{
  readonly tenant: string
  readonly script: string
}> {
  override get message(): string {
    return `tenant '${this.tenant}' has no script '${this.script}'`
  }
}

export class InvalidScriptName extends Data.TaggedError("InvalidScriptName")<{ readonly script: string }> {
  override get message(): string {
    const shown = JSON.stringify(this.script.slice(0, 80))
    return `${shown} is no name of a script: 1 to 64 letters, digits, '_', '.' or '-', not beginning with a dot`
  }
}

export class TooManyScripts extends Data.TaggedError("TooManyScripts")<{
  readonly tenant: string
  readonly limit: number
}> {
  override get message(): string {
    return `tenant '${this.tenant}' has ${this.limit} scripts, which is its limit (scriptsMax); remove one first`
  }
}

/** How a run ends that does not end well. */
export type ScriptError =
  | ScriptRuntimeError
  | ScriptTimeout
  | ScriptOutOfMemory
  | ScriptKilled
  | ScriptQuotaExceeded
  | ScriptInterrupted
  | FunctionNotFound
  | InvalidArgument

const place = ({ script, line }: { readonly script: string; readonly line: number }): string =>
  line > 0 ? `${script}:${line}` : script

const quotaText = ({ tenant, what, limit }: Pick<ScriptQuotaExceeded, "tenant" | "what" | "limit">): string => {
  const who = tenant === null ? "who is no tenant" : `tenant '${tenant}'`
  if (what === "runs") return `${who} has ${limit} runs at once, its limit (runsMax)`
  if (what === "fuel") return `${who} has spent its ${limit} units of fuel a second (fuelPerSecond)`
  if (what === "engine") return `there are ${limit} runs at once, the limit of all tenants together`
  if (what === "states") return `${limit} states are kept, the limit of all tenants together; close some`
  return `${limit} runs wait for this state already, its limit`
}
