/** TENANT … of the server, over the tenants' keeper: the port that commands and the HTTP API ask. */
import type { Process, Supervisor } from "../actor/index.ts"
import type { TenantsService } from "../cache/Tenants.ts"
import * as CommandEngine from "./CommandEngine.ts"
import type { TenantPort } from "./commands/TenantPort.ts"

export interface TenantCommands {
  readonly port: TenantPort
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

export const make = (tenants: TenantsService): TenantCommands => {
  const { run, childSpec } = CommandEngine.make("tenant command", restarting)
  return {
    childSpec,
    port: {
      route: tenants.route,
      get: tenants.get,
      list: tenants.list,
      byToken: tenants.byToken,
      watch: tenants.watch,
      create: (input) => run(tenants.create(input)),
      setLimits: (id, limits) => run(tenants.setLimits(id, limits)),
      setEnv: (id, name, value) => run(tenants.setEnv(id, name, value)),
      remove: (id) => run(tenants.remove(id)),
      issueToken: (id) => run(tenants.issueToken(id))
    }
  }
}

const restarting = "what keeps tenants was restarted before it was done; see TENANT LIST, and try again"
