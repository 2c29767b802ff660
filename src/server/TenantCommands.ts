/** TENANT … of the server, over the tenants' keeper: the port that commands and the HTTP API ask. */
import { Effect } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import type { TenantsService } from "../cache/Tenants.ts"
import { setEnv } from "../scripting/GlobalNames.ts"
import * as CommandEngine from "./CommandEngine.ts"
import type { TenantPort } from "./commands/TenantPort.ts"

export interface TenantCommands {
  readonly port: TenantPort
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

/** `isOpen` says that the server has no password: then a token alone keeps nobody out, which the log says once. */
export const make = (tenants: TenantsService, { isOpen = false } = {}): TenantCommands => {
  const { run, childSpec } = CommandEngine.make("tenant command", restarting)
  let isToWarn = isOpen
  const warn = Effect.suspend(() => {
    if (!isToWarn) return Effect.void
    isToWarn = false
    return Effect.logWarning(noPassword)
  })
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
      setEnv: (id, name, value) => run(setEnv(tenants, id, name, value)),
      remove: (id) => run(tenants.remove(id)),
      issueToken: (id) => run(Effect.tap(tenants.issueToken(id), warn)),
      revokeToken: (id) => run(tenants.revokeToken(id))
    }
  }
}

const noPassword =
  "a tenant has a token, but the server has no password: whoever sends no token is an operator; set MIMOSA_PASSWORD"

const restarting = "what keeps tenants was restarted before it was done; see TENANT LIST, and try again"
