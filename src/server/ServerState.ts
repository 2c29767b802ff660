/**
 * What all clients of one server share: the cache they talk to, who they are, and what the server may tell about
 * itself. Commands reach it through their client.
 */
import type { EventBus } from "../cache/EventBus.ts"
import type { Tenant } from "../cache/Tenants.ts"
import type { Clock, Keyspace } from "../kernel/index.ts"
import { type MetricReader, metric } from "../telemetry/index.ts"
import type { Client } from "./Client.ts"
import type { CommandTable } from "./Command.ts"
import type { CoherencePort } from "./commands/CoherencePort.ts"
import type { FillPort } from "./commands/FillPort.ts"
import type { ScriptPort } from "./commands/ScriptPort.ts"
import type { KeyRoutes, TenantPort } from "./commands/TenantPort.ts"
import type { TriggerPort } from "./commands/TriggerPort.ts"
import type { DebugPort } from "./DebugPort.ts"
import { defaultRespLimits, type RespLimits } from "./RespParser.ts"
import type { Turns } from "./Turns.ts"

export interface ServerState {
  readonly keyspace: Keyspace
  readonly bus: EventBus
  readonly clock: Clock
  /** Absent where the server runs without an engine for triggers. */
  readonly triggers: TriggerPort | undefined
  /** Absent where the server keeps no tenants, or runs no scripts. */
  readonly tenants: TenantPort | undefined
  readonly scripts: ScriptPort | undefined
  /** Absent where a key that is not here is nowhere. */
  readonly fills: FillPort | undefined
  /** Absent where the server shares its keys with no other. */
  readonly coherence: CoherencePort | undefined
  /** Whose a key is: asked of each key that an operator names, while there are tenants. */
  readonly routes: KeyRoutes
  /** What DEBUG may do; absent where the command is not enabled. */
  readonly debug: DebugPort | undefined
  readonly commands: CommandTable
  readonly settings: ServerSettings
  /** Everyone who is connected, by id. */
  readonly clients: Map<number, Client>
  readonly stats: ServerStats
  readonly turns: Turns
  /** How many clients listen to each pattern, and the bytes of these patterns. */
  readonly patterns: Map<string, number>
  patternBytes: number
  /** Bytes that we hold for all clients. */
  clientBytes: number
  /** The part of them that is for connections that are logged in as a tenant. */
  readonly tenantBytes: Map<Tenant, number>
  readonly startedAtMs: number
  /** The port on which the server listens; 0 before it does. */
  port: number
}

export interface ServerSettings {
  readonly host: string
  /** What AUTH asks for; undefined lets everybody in. */
  readonly password: string | undefined
  /** The newest protocol that HELLO agrees to; above it answers NOPROTO. */
  readonly protocolMax: 2 | 3
  readonly clientsMax: number
  /** Connections that are logged in as one tenant. */
  readonly tenantClientsMax: number
  /** Milliseconds without a command after which a client is disconnected; 0 for never. Subscribers are spared. */
  readonly idleTimeoutMs: number
  readonly limits: RespLimits
  /** Bytes of replies that wait in a socket; above, nothing more is read from that client until they have gone. */
  readonly replyBytesHigh: number
  /** Bytes that the replies of one command may have; whose pass it is disconnected, or refused where that can be known. */
  readonly replyBytesMax: number
  readonly subscriberLimit: SubscriberLimit
  /**
   * Bytes that all clients together may have us hold; above, who asks for more is disconnected. Those that are logged
   * in as one tenant may have a share of it (`tenantShare`).
   */
  readonly clientBytesMax: number
  /** Milliseconds after which a client with more to do lets others have their turn. */
  readonly turnMs: number
  /** Arguments of all commands in one transaction, command names included, and their bytes. */
  readonly queueArgumentsMax: number
  readonly queueBytesMax: number
  /** Keys of one command that changes all of them or none: it is done in one turn. */
  readonly atomicKeysMax: number
  /** Bytes of a channel's name, and of a glob. */
  readonly channelBytesMax: number
  /** Bytes of the channels and patterns that one client listens to, with 100 for each beside its name. */
  readonly subscriptionBytesMax: number
  /** Bytes of all distinct patterns: each is tried on every message. */
  readonly patternBytesMax: number
  /** How long `close` waits for replies to reach their clients before it cuts the connections. */
  readonly closeTimeoutMs: number
}

/** When a subscriber that does not read its messages is disconnected, as in Redis' client-output-buffer-limit. */
export interface SubscriberLimit {
  /** Waiting bytes above which it goes at once. */
  readonly hardBytes: number
  /** Waiting bytes above which it goes when they stay there for `softMs`. */
  readonly softBytes: number
  readonly softMs: number
}

export const defaultSettings: ServerSettings = {
  host: "127.0.0.1",
  password: undefined,
  protocolMax: 3,
  clientsMax: 10_000, // Redis' default
  tenantClientsMax: 1_000, // a tenth of them: no tenant takes the places of all
  idleTimeoutMs: 0,
  limits: defaultRespLimits,
  replyBytesHigh: 1024 * 1024, // a few round trips of a fast network; what a slow one may hold of our memory
  subscriberLimit: { hardBytes: 32 * 1024 * 1024, softBytes: 8 * 1024 * 1024, softMs: 60_000 }, // Redis' defaults
  replyBytesMax: 128 * 1024 * 1024, // an MGET of what one MSET may bring
  clientBytesMax: 1024 * 1024 * 1024,
  turnMs: 2, // as long as the largest cascade of triggers: one client's turn is never worse than one command may be
  queueArgumentsMax: 65_536,
  queueBytesMax: 16 * 1024 * 1024,
  atomicKeysMax: 16_384, // 16 ms without triggers
  channelBytesMax: 1024,
  subscriptionBytesMax: 4 * 1024 * 1024,
  patternBytesMax: 64 * 1024, // some thousand usual ones; at worst 64 M steps a message, 0.1 s
  closeTimeoutMs: 5_000
}

/** One tenant may have so much less of what there is for all: of memory, patterns, and answers at once. */
export const tenantShare = 8

export class ServerStats {
  connections = 0
  /** Connections refused because of `clientsMax`. */
  rejectedConnections = 0
  commands = 0
  errors = 0
  protocolErrors = 0
  /** How often reading stopped because a client did not take its replies. */
  pauses = 0
  /** Subscribers disconnected because of `subscriberLimit`. */
  slowSubscribers = 0
  idleDisconnections = 0
  /** Connections cut because the replies of one command passed `replyBytesMax`. */
  replyOverflows = 0
  /** Connections cut because all clients together held `clientBytesMax`. */
  memoryDisconnections = 0
  /** Connections of tenants that held their tenant's share of it. */
  tenantMemoryDisconnections = 0
  /** Connections of tenants that were cut because the token by which they logged in was made void. */
  tokenDisconnections = 0
  /** Connections that ended because a command crashed. */
  crashes = 0
  inputBytes = 0
  outputBytes = 0
  /** No count, so CONFIG RESETSTAT, which goes over the fields, leaves it as it is. */
  #connected = 0

  /** Clients that are connected now. */
  get connected(): number {
    return this.#connected
  }

  onConnection(): void {
    this.#connected++
  }

  onDisconnection(): void {
    this.#connected--
  }
}

/** What operators see of it. */
export const metricsOf = (stats: ServerStats): readonly MetricReader[] => [
  { ...metric.clientsConnected, read: () => stats.connected },
  { ...metric.connectionsAccepted, read: () => stats.connections },
  { ...metric.connectionsRefused, read: () => stats.rejectedConnections },
  {
    ...metric.clientsCut,
    read: () => [
      [{ reason: "reply_too_large" }, stats.replyOverflows] as const,
      [{ reason: "slow_subscriber" }, stats.slowSubscribers] as const,
      [{ reason: "idle" }, stats.idleDisconnections] as const,
      [{ reason: "memory" }, stats.memoryDisconnections] as const,
      [{ reason: "tenant_memory" }, stats.tenantMemoryDisconnections] as const,
      [{ reason: "token_void" }, stats.tokenDisconnections] as const,
      [{ reason: "protocol_error" }, stats.protocolErrors] as const,
      [{ reason: "crash" }, stats.crashes] as const
    ]
  },
  { ...metric.clientPauses, read: () => stats.pauses },
  { ...metric.commands, read: () => stats.commands },
  { ...metric.commandErrors, read: () => stats.errors }
]
