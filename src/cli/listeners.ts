/**
 * The subtree "listeners": what clients and operators connect to, over the services of App.ts.
 *
 * HTTP starts first and stops last, so that `/readyz` tells while RESP is not there yet, and while it drains.
 */
import { Effect } from "effect"
import { Metrics, type Mounted, ProcessTree } from "../App.ts"
import { GenServer, Supervisor } from "../actor/index.ts"
import { Bus, CacheFills, Keyspaces, Tenants, type TurnClock } from "../cache/index.ts"
import { Coherence } from "../coherence/index.ts"
import { Scripts } from "../scripting/index.ts"
import { DebugPort } from "../server/DebugPort.ts"
import { HttpListener } from "../server/HttpListener.ts"
import type { Readiness } from "../server/Readiness.ts"
import * as RespListener from "../server/RespListener.ts"
import * as ScriptCommands from "../server/ScriptCommands.ts"
import type { ServerStats } from "../server/ServerState.ts"
import * as TenantCommands from "../server/TenantCommands.ts"
import * as TriggerCommands from "../server/TriggerCommands.ts"
import { Triggers } from "../triggers/index.ts"

export interface ListenersOptions {
  readonly host: string
  readonly port: number
  readonly httpPort: number
  /** What clients have to say on both ports; undefined lets everybody in. */
  readonly password: string | undefined
  /** Whether DEBUG CRASH may crash processes. */
  readonly enableDebugCommand: boolean
  readonly readiness: Readiness
  /** What the RESP server counts, kept above its restarts. */
  readonly stats: ServerStats
  /** The clock that the keyspace was made with. */
  readonly clock: TurnClock
}

export const listeners = (options: ListenersOptions): Mounted => {
  const { host, port, httpPort, password, enableDebugCommand, readiness, stats, clock } = options
  return {
    id: "listeners",
    type: "supervisor",
    start: Effect.gen(function* () {
      const { main: keyspace } = yield* Keyspaces
      const bus = yield* Bus
      const { read } = yield* ProcessTree
      const { port: triggers, childSpec: triggerCommands } = TriggerCommands.make(yield* Triggers)
      const { port: tenants, childSpec: tenantCommands } = TenantCommands.make(yield* Tenants, {
        isOpen: password === undefined
      })
      const { port: scripts, childSpec: scriptCommands } = ScriptCommands.make(yield* Scripts)
      const debug = enableDebugCommand ? new DebugPort(read) : undefined
      const metrics = yield* Metrics
      const fills = yield* CacheFills
      const coherence = (yield* Coherence.Coherence) ?? undefined
      const engines = { triggers, tenants, scripts, coherence }
      const views = { readiness, metrics, processes: read, ...engines, password, nowMs: () => clock.nowMs() }
      return yield* Supervisor.startLink({
        label: "listeners",
        children: [
          GenServer.childSpec(HttpListener, { host, port: httpPort, views, readiness }),
          triggerCommands,
          tenantCommands,
          scriptCommands,
          RespListener.childSpec({
            host,
            port,
            password,
            readiness,
            stats,
            clock,
            keyspace,
            bus,
            fills,
            ...engines,
            debug
          })
        ]
      })
    })
  }
}
