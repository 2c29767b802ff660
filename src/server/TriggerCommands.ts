/** TRIGGER … of the server, over the trigger engine: the port that commands and the HTTP API ask. */
import { Effect } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import type { Tenant } from "../cache/index.ts"
import type { TriggersOfKeyspace, TriggersService } from "../triggers/index.ts"
import * as CommandEngine from "./CommandEngine.ts"
import type { TriggerPort } from "./commands/TriggerPort.ts"

export interface TriggerCommands {
  readonly port: TriggerPort
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

export const make = (all: TriggersService): TriggerCommands => {
  const { run, now, childSpec } = CommandEngine.make("trigger command", restarting)
  const ofTenants = new WeakMap<Tenant, TriggerPort>()
  const portOf = (triggers: TriggersOfKeyspace): TriggerPort => ({
    forTenant: (tenant) => {
      const known = ofTenants.get(tenant)
      if (known !== undefined) return known
      const made = portOf(all.of(tenant))
      ofTenants.set(tenant, made)
      return made
    },
    set: (input) => run(triggers.set(input)),
    remove: (name) => run(triggers.remove(name)),
    enable: (name, isEnabled) => run(triggers.enable(name, isEnabled)),
    versions: (name) => run(triggers.versions(name)),
    rollback: (name, version) => run(triggers.rollback(name, version)),
    shadow: (name, input) => run(triggers.shadow(name, input)),
    dropShadow: (name) => run(triggers.dropShadow(name)),
    promote: (name) => run(triggers.promote(name)),
    list: triggers.each,
    info: (name) => now(Effect.orElseSucceed(triggers.info(name), () => undefined)),
    warnings: (name) => now(triggers.warnings(name)),
    graph: () => now(triggers.graph),
    ...triggers.inBytes
  })
  return { childSpec, port: portOf(all) }
}

const restarting = "what registers triggers was restarted before it was done; see TRIGGER LIST, and try again"
