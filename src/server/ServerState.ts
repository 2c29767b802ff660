/**
 * What all clients of one server share: the cache they talk to, who they are, and what the server may tell about
 * itself. Commands reach it through their client.
 */
import type { EventBus } from "../cache/EventBus.ts"
import type { Clock, Keyspace } from "../kernel/index.ts"
import { type MetricReader, metric } from "../telemetry/index.ts"
import type { Client } from "./Client.ts"
import type { CommandTable } from "./Command.ts"
import type { TriggerPort } from "./commands/TriggerPort.ts"
import { defaultRespLimits, type RespLimits } from "./RespParser.ts"

export interface ServerState {
  readonly keyspace: Keyspace
  readonly bus: EventBus
  readonly clock: Clock
  /** Absent where the server runs without an engine for triggers. */
  readonly triggers: TriggerPort | undefined
  readonly commands: CommandTable
  readonly settings: ServerSettings
  /** Everyone who is connected, by id. */
  readonly clients: Map<number, Client>
  readonly stats: ServerStats
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
  /** Milliseconds without a command after which a client is disconnected; 0 for never. Subscribers are spared. */
  readonly idleTimeoutMs: number
  readonly limits: RespLimits
  /** Bytes of replies that wait in a socket; above, nothing more is read from that client until they have gone. */
  readonly replyBytesHigh: number
  readonly subscriberLimit: SubscriberLimit
  /** Commands in one transaction, and the bytes of their arguments. */
  readonly queueCommandsMax: number
  readonly queueBytesMax: number
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
  idleTimeoutMs: 0,
  limits: defaultRespLimits,
  replyBytesHigh: 1024 * 1024, // a few round trips of a fast network; what a slow one may hold of our memory
  subscriberLimit: { hardBytes: 32 * 1024 * 1024, softBytes: 8 * 1024 * 1024, softMs: 60_000 }, // Redis' defaults
  queueCommandsMax: 65_536,
  queueBytesMax: 64 * 1024 * 1024,
  closeTimeoutMs: 5_000
}

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
  /** Connections that ended because a command crashed. */
  crashes = 0
  inputBytes = 0
  outputBytes = 0
}

/** What operators see of it. */
export const metricsOf = (stats: ServerStats): readonly MetricReader[] => [
  { ...metric.connectionsAccepted, read: () => stats.connections },
  { ...metric.commands, read: () => stats.commands },
  { ...metric.commandErrors, read: () => stats.errors }
]
