/**
 * The subtree "listeners": what clients and operators connect to, over the services of App.ts.
 *
 * HTTP starts first and stops last, so that `/readyz` tells while RESP is not there yet, and while it drains.
 */
import { Cause, Effect, Exit, Runtime } from "effect"
import { Metrics, type Mounted, ProcessTree } from "../App.ts"
import { GenServer, Supervisor } from "../actor/index.ts"
import { Bus, Keyspaces, type TurnClock } from "../cache/index.ts"
import type { TriggerPort } from "../server/commands/TriggerPort.ts"
import { HttpListener } from "../server/HttpListener.ts"
import type { Readiness } from "../server/Readiness.ts"
import * as RespListener from "../server/RespListener.ts"
import type { ServerStats } from "../server/ServerState.ts"
import { Triggers, type TriggersService } from "../triggers/index.ts"

export interface ListenersOptions {
  readonly host: string
  readonly port: number
  readonly httpPort: number
  /** What AUTH asks for; undefined lets everybody in. */
  readonly password: string | undefined
  readonly readiness: Readiness
  /** What the RESP server counts, kept above its restarts. */
  readonly stats: ServerStats
  /** The clock that the keyspace was made with. */
  readonly clock: TurnClock
}

export const listeners = ({ host, port, httpPort, password, readiness, stats, clock }: ListenersOptions): Mounted => ({
  id: "listeners",
  type: "supervisor",
  start: Effect.gen(function* () {
    const { main: keyspace } = yield* Keyspaces
    const bus = yield* Bus
    const triggers = triggerPort(yield* Triggers, yield* Effect.runtime<never>())
    const views = { readiness, metrics: yield* Metrics, processes: (yield* ProcessTree).read }
    return yield* Supervisor.startLink({
      label: "listeners",
      children: [
        GenServer.childSpec(HttpListener, { host, port: httpPort, views, readiness }),
        RespListener.childSpec({ host, port, password, readiness, stats, clock, keyspace, bus, triggers })
      ]
    })
  })
})

/** The triggers as commands ask for them: answers at once where nothing has to be saved. */
const triggerPort = (triggers: TriggersService, runtime: Runtime.Runtime<never>): TriggerPort => {
  const runSync = Runtime.runSync(runtime)
  const runPromise = async <A, E>(effect: Effect.Effect<A, E>): Promise<A> => {
    const exit = await Runtime.runPromiseExit(runtime)(effect)
    if (Exit.isSuccess(exit)) return exit.value
    throw Cause.squash(exit.cause)
  }
  return {
    set: (input) => runPromise(triggers.set(input)),
    remove: (name) => runPromise(triggers.remove(name)),
    list: () => runSync(triggers.list),
    info: (name) => runSync(Effect.orElseSucceed(triggers.info(name), () => undefined)),
    test: (subject, event) => runSync(Effect.merge(triggers.test(subject, event))),
    log: (count) => runSync(triggers.log(count))
  }
}
