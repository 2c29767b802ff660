/**
 * SCRIPT.… of the server, over tenants' scripts: the port that commands and the HTTP API ask. Runs belong to the
 * engine, which ends them when it ends; what changes a script is saved first, in a process of its own.
 */
import { Cause, Effect, Exit, Fiber } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import type { Value } from "../kernel/index.ts"
import { ScriptInterrupted, type ScriptsService } from "../scripting/index.ts"
import * as CommandEngine from "./CommandEngine.ts"
import type { Running, RunOutcome, ScriptPort } from "./commands/ScriptPort.ts"

export interface ScriptCommands {
  readonly port: ScriptPort
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

export const make = (scripts: ScriptsService): ScriptCommands => {
  const { run, childSpec } = CommandEngine.make("script command", restarting)
  return {
    childSpec,
    port: {
      list: scripts.list,
      info: scripts.info,
      log: scripts.log,
      set: (tenant, name, source) => run(scripts.set(tenant, name, source)),
      remove: (tenant, name) => run(scripts.remove(tenant, name)),
      run: (tenant, name, entry, args, seed) => begin(name, scripts.run(tenant, name, entry, args, optionsOf(seed))),
      evaluate: (tenant, source, entry, args, seed) =>
        begin(unnamed, scripts.evaluate(tenant, source, entry, args, optionsOf(seed)))
    }
  }
}

const optionsOf = (seed: number | undefined) => (seed === undefined ? noOptions : { seed })
const noOptions = {}

/** A fiber runs until it has to wait: a short run is over before this returns. */
const begin = (name: string, running: Effect.Effect<Value, unknown>): RunOutcome | Running => {
  const fiber = Effect.runFork(running)
  const exit = fiber.unsafePoll()
  if (exit !== null) return outcomeOf(name, exit)
  return {
    outcome: new Promise((resolve) => fiber.addObserver((exit) => resolve(outcomeOf(name, exit)))),
    end: () => void Effect.runFork(Fiber.interruptFork(fiber))
  }
}

const outcomeOf = (script: string, exit: Exit.Exit<Value, unknown>): RunOutcome => {
  if (Exit.isSuccess(exit)) return { value: exit.value }
  return { error: Cause.isInterruptedOnly(exit.cause) ? ended(script) : Cause.squash(exit.cause) }
}

/** `Running.end` was called. Who closed only his own side of the connection, or is still there as it ends, reads it. */
const ended = (script: string) =>
  new ScriptInterrupted({ script, line: 0, reason: "its client sends nothing more, or the server stops" })

const unnamed = "script" // what a source that is not kept goes by

const restarting = "what keeps scripts was restarted before it was done; see SCRIPT.LIST, and try again"
