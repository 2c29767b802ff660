/** The whole program as `mimosa serve` runs it, on free ports of this machine, and what connects to it. */
import { Effect, Layer, Logger, ManagedRuntime } from "effect"
import { layerWith, type Settings } from "../../src/App.ts"
import { Bus, CacheClock, Keyspaces, Tenants, TurnClock } from "../../src/cache/index.ts"
import { listeners } from "../../src/cli/listeners.ts"
import { Scripts } from "../../src/scripting/index.ts"
import { listenerName as httpName } from "../../src/server/HttpListener.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { listenerName as respName } from "../../src/server/RespListener.ts"
import { ServerStats } from "../../src/server/ServerState.ts"
import { Triggers } from "../../src/triggers/index.ts"
import { RawClient } from "../server/RawClient.ts"

const password = "secret"

export const serveProgram = async (settings: Settings = {}) => {
  const clock = new TurnClock()
  const readiness = new Readiness([httpName, respName])
  const ports = { host: "127.0.0.1", port: 0, httpPort: 0, password, enableDebugCommand: false }
  const program = layerWith(settings, [listeners({ ...ports, clock, readiness, stats: new ServerStats() })], {
    clock: Layer.succeed(CacheClock, clock)
  })
  const runtime = ManagedRuntime.make(Layer.provide(program, Logger.remove(Logger.defaultLogger)))
  const services = await runtime.runPromise(
    Effect.all({ bus: Bus, keyspaces: Keyspaces, tenants: Tenants, scripts: Scripts, triggers: Triggers })
  )
  const clients: RawClient[] = []
  return {
    ...services,
    /** A connection of the operator; where an id is given, one that acts as this tenant. */
    connect: async (tenant?: string): Promise<RawClient> => {
      const client = await RawClient.connect(readiness.portOf(respName) as number)
      clients.push(client)
      await client.send("AUTH", password)
      if (tenant !== undefined) await client.send("TENANT", "USE", tenant)
      return client
    },
    stop: async (): Promise<void> => {
      for (const client of clients) await client.close()
      await runtime.dispose()
    }
  }
}
