/**
 * What SCRIPT.… and the HTTP API ask of tenants' scripts. Whoever builds the engine gives it to the server. Sources and
 * values are the kernel's; errors have a tag (EngineError.ts) and a message for the client.
 */
import type { Value } from "../../kernel/index.ts"
import type { ScriptInfo, ScriptsService } from "../../scripting/index.ts"

/** How a run has ended. */
export type RunOutcome =
  | { readonly value: Value; readonly error?: never }
  | { readonly error: unknown; readonly value?: never }

/** A run that has not ended when it was begun. */
export interface Running {
  /** Is always fulfilled. */
  readonly outcome: Promise<RunOutcome>
  /** Nobody waits for it any more: it ends. */
  end(): void
}

export interface ScriptPort extends Pick<ScriptsService, "list" | "info" | "log"> {
  /** Compiles and saves a script, in the place of the one that has its name. */
  set(tenant: string, name: string, source: string): Promise<ScriptInfo>
  /** Resolves to false where there was none. */
  remove(tenant: string, name: string): Promise<boolean>
  /** Runs a function of a script. One that does not have to wait has ended when this returns. */
  run(tenant: string, name: string, entry: string, args: readonly Value[], seed?: number): RunOutcome | Running
  /** Runs a function of a source that is not kept. */
  evaluate(tenant: string, source: string, entry: string, args: readonly Value[], seed?: number): RunOutcome | Running
}

export const isRunning = (run: RunOutcome | Running): run is Running => "outcome" in run
