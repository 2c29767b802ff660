/** A RESP server over one keyspace on a free port, for tests. */
import { EventBus } from "../../src/cache/EventBus.ts"
import { TurnClock } from "../../src/cache/TurnClock.ts"
import { Keyspace, type KeyspaceOptions } from "../../src/kernel/index.ts"
import type { RespConnection } from "../../src/server/RespConnection.ts"
import { RespServer, type RespServerOptions } from "../../src/server/RespServer.ts"

export interface TestServer {
  readonly port: number
  readonly server: RespServer
  readonly keyspace: Keyspace
  readonly bus: EventBus
  /** What commands threw. */
  readonly defects: unknown[]
  readonly stop: () => Promise<void>
}

export const startServer = async (
  options: Partial<RespServerOptions> = {},
  ofKeyspace: Partial<Pick<KeyspaceOptions, "maxEntries" | "maxBytes" | "sink" | "gate">> = {}
): Promise<TestServer> => {
  const clock = options.clock ?? new TurnClock()
  const bus = new EventBus()
  const keyspace = new Keyspace({
    maxEntries: 100_000,
    maxBytes: 256 * 1024 * 1024,
    sink: { onEvent() {}, onSettled() {} },
    wake() {},
    ...ofKeyspace,
    clock
  })
  const defects: unknown[] = []
  const onConnection = (connection: RespConnection) =>
    connection.whenGone((crash) => crash !== undefined && defects.push(crash.defect))
  const server = new RespServer({ keyspace, bus, onConnection, ...options, clock })
  const port = await server.listen(0)
  return { port, server, keyspace, bus, defects, stop: () => server.close() }
}
