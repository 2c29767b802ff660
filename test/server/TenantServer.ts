/**
 * A RESP server, and the HTTP API beside it, over real tenants and scripts that a test plays: on free ports.
 *
 * Scripts answer what the test says (`plays`): the source of a script is the name of a play, and its value, or a promise of
 * it, is what running it gives.
 */
import { Effect, Exit, Layer, Logger, LogLevel, ManagedRuntime, Scope } from "effect"
import { GenServer, Supervisor } from "../../src/actor/index.ts"
import {
  Bus,
  CacheClock,
  Keyspaces,
  Reactions,
  type Tenant,
  Tenants,
  type TenantsService,
  TurnClock,
  Wakeups
} from "../../src/cache/index.ts"
import { TenantStore } from "../../src/cache/TenantStore.ts"
import type { Keyspace, Value } from "../../src/kernel/index.ts"
import { ScriptNotFound } from "../../src/scripting/ScriptError.ts"
import type { Running, RunOutcome, ScriptPort } from "../../src/server/commands/ScriptPort.ts"
import type { TriggerPort } from "../../src/server/commands/TriggerPort.ts"
import { HttpListener } from "../../src/server/HttpListener.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { RespServer, type RespServerOptions } from "../../src/server/RespServer.ts"
import * as TenantCommands from "../../src/server/TenantCommands.ts"
import { LogStreams } from "../../src/triggers/LogStreams.ts"
import { RawClient } from "./RawClient.ts"

/** What running a script comes to. `ended` is told when a run that waits is ended by those who asked for it. */
export type Play = (call: {
  readonly tenant: string
  readonly entry: string
  readonly args: readonly Value[]
  readonly seed: number | undefined
}) => RunOutcome | Promise<RunOutcome>

export interface TenantServer {
  readonly port: number
  readonly url: string
  readonly server: RespServer
  readonly main: Keyspace
  readonly tenants: TenantsService
  readonly plays: Map<string, Play>
  /** The runs that were ended by those who asked for them, as `tenant/script`. */
  readonly ended: string[]
  /** The tenants whose triggers were asked for, in the order in which they were; null for the operators'. */
  readonly triggersOf: Array<string | null>
  readonly create: (id: string, prefix?: string) => Promise<Tenant>
  readonly token: (id: string) => Promise<string>
  readonly connect: () => Promise<RawClient>
  /** A connection that is logged in as a tenant. */
  readonly as: (id: string) => Promise<RawClient>
  readonly stop: () => Promise<void>
}

export const startTenantServer = async (
  options: Partial<RespServerOptions> = {},
  http: { readonly password?: string } = {}
): Promise<TenantServer> => {
  const clock = new TurnClock()
  const layer = Tenants.layer().pipe(
    Layer.provide(TenantStore.layerNone),
    Layer.provideMerge(Keyspaces.layer()),
    Layer.provideMerge(Layer.mergeAll(Reactions.layerNone, Wakeups.layer, Bus.layer)),
    Layer.provideMerge(Layer.succeed(CacheClock, clock))
  )
  const runtime = ManagedRuntime.make(Layer.provide(layer, Logger.minimumLogLevel(LogLevel.None)))
  const [tenants, { main }, bus] = await runtime.runPromise(Effect.all([Tenants, Keyspaces, Bus]))
  const triggersOf: Array<string | null> = []
  const plays = new Map<string, Play>()
  const ended: string[] = []
  const commands = TenantCommands.make(tenants)
  const triggers = playedTriggers(triggersOf, null)
  const scripts = playedScripts(plays, ended)
  const server = new RespServer({
    ...{ keyspace: main, bus, clock, triggers, tenants: commands.port, scripts },
    ...options
  })
  const port = await server.listen(0)
  const readiness = new Readiness(["HTTP"])
  const views = {
    ...{ readiness, triggers, tenants: commands.port, scripts, nowMs: () => clock.nowMs() },
    metrics: { render: () => "" },
    processes: () => null,
    password: http.password
  }
  const scope = Effect.runSync(Scope.make())
  const children = [
    commands.childSpec,
    GenServer.childSpec(HttpListener, { host: "127.0.0.1", port: 0, views, readiness })
  ]
  await runtime.runPromise(Scope.extend(Supervisor.start({ label: "listeners", children }), scope))
  const clients: RawClient[] = []
  const connect = async () => {
    const client = await RawClient.connect(port)
    clients.push(client)
    return client
  }
  const tokens = new Map<string, string>()
  const token = async (id: string) => {
    const issued = await runtime.runPromise(tenants.issueToken(id))
    tokens.set(id, issued)
    return issued
  }
  /** The token that holds: a new one would end the connections that are logged in. */
  const heldToken = async (id: string) => {
    const held = tokens.get(id)
    return held !== undefined && tenants.byToken(held) !== undefined ? held : token(id)
  }
  return {
    ...{ port, server, main, tenants, plays, ended, triggersOf, connect, token },
    url: `http://127.0.0.1:${readiness.portOf("HTTP")}`,
    create: (id, prefix) => runtime.runPromise(tenants.create({ id, ...(prefix === undefined ? {} : { prefix }) })),
    as: async (id) => {
      const client = await connect()
      await client.send("AUTH", id, await heldToken(id))
      return client
    },
    stop: async () => {
      for (const client of clients) await client.close()
      await server.close()
      await Effect.runPromise(Scope.close(scope, Exit.void))
      await runtime.dispose()
    }
  }
}

/** An engine that has no trigger, and notes for whom it was asked. */
const playedTriggers = (asked: Array<string | null>, tenant: string | null): TriggerPort => {
  const note = <A>(answer: A): A => {
    asked.push(tenant)
    return answer
  }
  const none = () => note(Promise.reject(new Error(`nothing of ${tenant ?? "the operators"}`)))
  return {
    forTenant: ({ id }) => playedTriggers(asked, id),
    ...{ set: none, enable: none, versions: none, rollback: none, shadow: none, promote: none },
    remove: async () => note(false),
    dropShadow: async () => note(false),
    list: () => note([]),
    info: () => note(undefined),
    warnings: () => note([]),
    graph: () => note({ nodes: [], edges: [], cycles: [], isTruncated: false }),
    test: () => note({ _tag: "TriggerNotFound", message: "none" } as never),
    testHistory: () => note({ _tag: "TriggerNotFound", message: "none" } as never),
    log: () => note([]),
    get logs() {
      return note(new LogStreams())
    }
  }
}

const playedScripts = (plays: ReadonlyMap<string, Play>, ended: string[]): ScriptPort => {
  const kept = new Map<string, Map<string, string>>()
  const scriptsOf = (tenant: string) => {
    const scripts = kept.get(tenant) ?? new Map<string, string>()
    kept.set(tenant, scripts)
    return scripts
  }
  const infoOf = (name: string, source: string) => ({
    ...{ name, version: 1, updatedAtMs: 5, bytes: source.length, functions: ["main"], error: null, source }
  })
  const play = (source: string | undefined, name: string, call: Parameters<Play>[0]): RunOutcome | Running => {
    const played = source === undefined ? undefined : plays.get(source)
    if (played === undefined) return { error: new ScriptNotFound({ tenant: call.tenant, script: name }) }
    const outcome = played(call)
    if (!(outcome instanceof Promise)) return outcome
    let end = () => {}
    const wasEnded = new Promise<RunOutcome>((resolve) => {
      end = () => {
        ended.push(`${call.tenant}/${name}`)
        resolve({ error: new Error("ended") })
      }
    })
    return { outcome: Promise.race([outcome, wasEnded]), end: () => end() }
  }
  return {
    set: async (tenant, name, source) => {
      scriptsOf(tenant).set(name, source)
      return infoOf(name, source)
    },
    remove: async (tenant, name) => scriptsOf(tenant).delete(name),
    list: (tenant) => [...scriptsOf(tenant)].map(([name, source]) => infoOf(name, source)),
    info: (tenant, name) => {
      const source = scriptsOf(tenant).get(name)
      return source === undefined ? undefined : infoOf(name, source)
    },
    run: (tenant, name, entry, args, seed) => play(scriptsOf(tenant).get(name), name, { tenant, entry, args, seed }),
    evaluate: (tenant, source, entry, args, seed) => play(source, "script", { tenant, entry, args, seed }),
    log: (tenant, { after = 0 } = {}) =>
      [1, 2, 3]
        .filter((number) => number > after)
        .map((number) => ({ number, atMs: 5, script: "s", kind: "print", text: `${tenant} é ${number}` }) as const)
  }
}
