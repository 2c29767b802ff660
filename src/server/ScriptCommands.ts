/**
 * SCRIPT.… of the server, over tenants' scripts: the port that commands and the HTTP API ask. Runs belong to the
 * engine, which ends them when it ends; what changes a script is saved first, in a process of its own.
 */
import { Cause, Effect, Exit, Fiber } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import type { Value } from "../kernel/index.ts"
import type { ScriptsService } from "../scripting/index.ts"
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
      run: (tenant, name, entry, args, seed) => begin(scripts.run(tenant, name, entry, args, optionsOf(seed))),
      evaluate: (tenant, source, entry, args, seed) =>
        begin(scripts.evaluate(tenant, source, entry, args, optionsOf(seed)))
    }
  }
}

const optionsOf = (seed: number | undefined) => (seed === undefined ? noOptions : { seed })
const noOptions = {}

/** A fiber runs until it has to wait: a short run is over before this returns. */
const begin = (running: Effect.Effect<Value, unknown>): RunOutcome | Running => {
  const fiber = Effect.runFork(running)
  const exit = fiber.unsafePoll()
  if (exit !== null) return outcomeOf(exit)
  return {
    outcome: new Promise((resolve) => fiber.addObserver((exit) => resolve(outcomeOf(exit)))),
    end: () => void Effect.runFork(Fiber.interruptFork(fiber))
  }
}

const outcomeOf = (exit: Exit.Exit<Value, unknown>): RunOutcome =>
  Exit.isSuccess(exit) ? { value: exit.value } : { error: Cause.squash(exit.cause) }

const restarting = "what keeps scripts was restarted before it was done; see SCRIPT.LIST, and try again"
