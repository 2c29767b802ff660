/**
 * Redis' protocol on a TCP port, over one keyspace.
 *
 * Plain and synchronous behind its socket events: a turn is what one socket delivered, and the keyspace is called
 * directly. Who supervises it, and who owns each connection, is the business of `RespListener`.
 *
 * @example
 * const server = new RespServer({ keyspace, bus, clock })
 * const port = await server.listen(6380)
 */
import { createServer, type Server, type Socket } from "node:net"
import type { EventBus } from "../cache/EventBus.ts"
import type { Tenant } from "../cache/Tenants.ts"
import type { TurnClock } from "../cache/TurnClock.ts"
import type { Keyspace } from "../kernel/index.ts"
import { CommandTable } from "./Command.ts"
import type { CoherencePort } from "./commands/CoherencePort.ts"
import type { FillPort } from "./commands/FillPort.ts"
import { families } from "./commands/index.ts"
import type { ScriptPort } from "./commands/ScriptPort.ts"
import type { TenantPort } from "./commands/TenantPort.ts"
import type { TriggerPort } from "./commands/TriggerPort.ts"
import type { DebugPort } from "./DebugPort.ts"
import { type ConnectionHost, RespConnection } from "./RespConnection.ts"
import { RespError } from "./RespError.ts"
import { defaultSettings, type ServerSettings, type ServerState, ServerStats } from "./ServerState.ts"
import { Turns } from "./Turns.ts"

export interface RespServerOptions extends Partial<ServerSettings> {
  readonly keyspace: Keyspace
  readonly bus: EventBus
  /** The keyspace's own clock: the server tells it when a turn begins and ends. */
  readonly clock: TurnClock
  readonly triggers?: TriggerPort | undefined
  readonly tenants?: TenantPort | undefined
  readonly scripts?: ScriptPort | undefined
  readonly fills?: FillPort | undefined
  readonly coherence?: CoherencePort | undefined
  /** Enables DEBUG. */
  readonly debug?: DebugPort | undefined
  /** Milliseconds that only grow, to bound turns by. */
  readonly monotonicMs?: () => number
  /** Where it counts; given from above, the counts outlive the server. */
  readonly stats?: ServerStats
  /** Called with each new connection, before its first command. */
  readonly onConnection?: (connection: RespConnection) => void
  /** Called with the error when listening fails, or cannot go on. */
  readonly onError?: (error: Error) => void
}

export class RespServer implements ConnectionHost {
  readonly state: ServerState
  readonly clock: TurnClock
  private readonly server: Server
  private readonly open = new Set<RespConnection>()
  private pushed: RespConnection[] = []
  private isFlushing = false
  private isFlushDue = false
  private lastId = 0
  private whenEmpty: (() => void) | undefined
  private readonly unwatch: (() => void) | undefined

  constructor(private readonly options: RespServerOptions) {
    const { keyspace, bus, clock, triggers, tenants, scripts, debug, monotonicMs = () => performance.now() } = options
    const { fills, coherence } = options
    const settings = withDefaults(options)
    this.clock = clock
    this.state = {
      keyspace,
      bus,
      clock,
      triggers,
      tenants,
      scripts,
      fills,
      coherence,
      routes: { size: 0, route: tenants?.route ?? (() => undefined) },
      debug,
      commands: new CommandTable(families),
      settings,
      clients: new Map(),
      stats: options.stats ?? new ServerStats(),
      turns: new Turns(settings.turnMs, monotonicMs),
      patterns: new Map(),
      patternBytes: 0,
      clientBytes: 0,
      tenantBytes: new Map(),
      startedAtMs: clock.nowMs(),
      port: 0
    }
    this.server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.accept(socket))
    this.server.on("error", (error) => this.options.onError?.(error))
    this.unwatch = tenants?.watch({
      onOpen: () => this.state.routes.size++,
      onClose: (tenant) => {
        this.state.routes.size--
        this.cutClientsOf(tenant)
      },
      onChange: (tenant) => this.cutVoidClientsOf(tenant)
    })
  }

  /** Starts to listen and returns the port (a free one for 0). Rejects with Node's error when the port cannot be had. */
  listen(port = 0): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once("error", reject)
      this.server.listen({ port, host: this.state.settings.host, backlog }, () => {
        this.server.off("error", reject)
        const address = this.server.address()
        this.state.port = typeof address === "object" && address !== null ? address.port : port
        resolve(this.state.port)
      })
    })
  }

  /**
   * Stops listening, ends the scripts that clients wait for, lets every reply reach its client for `closeTimeoutMs`, and
   * closes all connections.
   */
  async close(): Promise<void> {
    this.unwatch?.()
    const stopped = new Promise<void>((resolve) => this.server.close(() => resolve()))
    for (const connection of this.open) connection.endWhenAnswered()
    if (this.open.size > 0) {
      await new Promise<void>((resolve) => {
        const timeout = setTimeout(() => {
          for (const connection of this.open) connection.cut()
        }, this.state.settings.closeTimeoutMs)
        this.whenEmpty = () => {
          clearTimeout(timeout)
          resolve()
        }
      })
    }
    await stopped
  }

  connections(): ReadonlySet<RespConnection> {
    return this.open
  }

  onPush(connection: RespConnection): void {
    this.pushed.push(connection)
    // Within a turn its end flushes; a message from elsewhere (a timer, the library) waits for the end of that work.
    if (this.isFlushDue) return
    this.isFlushDue = true
    queueMicrotask(() => this.flushPushed())
  }

  flushPushed(): void {
    this.isFlushDue = false
    if (this.pushed.length === 0 || this.isFlushing) return
    this.isFlushing = true
    const pushed = this.pushed
    this.pushed = []
    for (const connection of pushed) connection.flushPushed()
    this.isFlushing = false
  }

  onClosed(connection: RespConnection): void {
    this.open.delete(connection)
    if (this.open.size === 0) this.whenEmpty?.()
  }

  /** A tenant is removed: its name and channels may be another's soon, so nobody stays who was it. */
  private cutClientsOf(tenant: Tenant): void {
    for (const { client } of this.open) if (client.tenant === tenant) client.wire.cut()
  }

  /** Its token may be another, or none, by now: who has logged in by the one before is let go. */
  private cutVoidClientsOf(tenant: Tenant): void {
    for (const { client } of this.open) {
      if (!client.isBound || client.tenant !== tenant || client.tokenHash === tenant.tokenHash) continue
      this.state.stats.tokenDisconnections++
      client.wire.cut()
    }
  }

  private accept(socket: Socket): void {
    const { stats, settings } = this.state
    if (this.open.size >= settings.clientsMax) {
      stats.rejectedConnections++
      socket.on("error", () => {})
      socket.end(`-${RespError.maxClients}\r\n`, "latin1", () => socket.destroy())
      return
    }
    stats.connections++
    const connection = new RespConnection(++this.lastId, socket, this)
    this.open.add(connection)
    this.options.onConnection?.(connection)
  }
}

const withDefaults = (options: RespServerOptions): ServerSettings => {
  const settings: Record<string, unknown> = { ...defaultSettings }
  for (const name of Object.keys(defaultSettings) as Array<keyof ServerSettings>) {
    if (options[name] !== undefined) settings[name] = options[name]
  }
  return settings as unknown as ServerSettings
}

const backlog = 511 // Redis' tcp-backlog
