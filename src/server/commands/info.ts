/**
 * INFO: what the server tells about itself, in Redis' sections and names where it has them. Whoever acts as a tenant is
 * told of what is that tenant's, and of the server no more than its version.
 */
import type { Client } from "../Client.ts"
import type { Handler } from "../Command.ts"

/** The version of Redis whose behaviour clients may expect. */
export const redisVersion = "7.0.0"

type Section = (client: Client) => ReadonlyArray<readonly [name: string, value: string | number]>

const server: Section = ({ server, tenant }) => {
  const versions = [
    ["server_name", "mimosa"],
    ["redis_version", redisVersion],
    ["redis_mode", "standalone"]
  ] as const
  if (tenant !== null) return [...versions, ["server_time_usec", server.clock.nowMs() * 1000]]
  const upSeconds = Math.floor((server.clock.nowMs() - server.startedAtMs) / 1000)
  return [
    ...versions,
    ["os", `${process.platform} ${process.arch}`],
    ["arch_bits", 64],
    ["node_version", process.version],
    ["process_id", process.pid],
    ["tcp_port", server.port],
    ["server_time_usec", server.clock.nowMs() * 1000],
    ["uptime_in_seconds", upSeconds],
    ["uptime_in_days", Math.floor(upSeconds / 86_400)]
  ]
}

const clients: Section = (client) => {
  const { clients, clientBytes, settings } = client.server
  let [connected, subscribers] = [0, 0]
  for (const each of clients.values()) {
    if (!each.isShownTo(client)) continue
    connected++
    if (each.subscriptionCount > 0) subscribers++
  }
  return [
    ["connected_clients", connected],
    ["maxclients", client.tenant === null ? settings.clientsMax : settings.tenantClientsMax],
    ...(client.tenant === null ? [["clients_bytes", clientBytes] as const] : []),
    ["pubsub_clients", subscribers]
  ]
}

const memory: Section = ({ keyspace, tenant }) => {
  const usage = process.memoryUsage()
  const ofProcess = [
    ["used_memory", usage.heapUsed + usage.external],
    ["used_memory_rss", usage.rss]
  ] as const
  return [
    ...(tenant === null ? ofProcess : []),
    ["used_memory_dataset", keyspace.bytes],
    ["maxmemory", keyspace.maxBytes],
    ["maxmemory_policy", "allkeys-lru"],
    ["maxentries", keyspace.maxEntries]
  ]
}

const persistence: Section = () => [
  ["loading", 0],
  ["rdb_bgsave_in_progress", 0],
  ["aof_enabled", 0]
]

const stats: Section = (client) =>
  client.tenant === null
    ? [...connectionStats(client), ...keyspaceStats(client), ...trafficStats(client)]
    : keyspaceStats(client)

const connectionStats: Section = ({ server: { stats } }) => [
  ["total_connections_received", stats.connections],
  ["total_commands_processed", stats.commands],
  ["total_net_input_bytes", stats.inputBytes],
  ["total_net_output_bytes", stats.outputBytes],
  ["rejected_connections", stats.rejectedConnections]
]

const keyspaceStats: Section = ({ keyspace }) => [
  ["expired_keys", keyspace.stats.expires],
  ["evicted_keys", keyspace.stats.evictions],
  ["keyspace_hits", keyspace.stats.hits],
  ["keyspace_misses", keyspace.stats.misses],
  ["keyspace_refused", keyspace.stats.refused],
  ["keyspace_flushes", keyspace.stats.flushes],
  ["keyspace_sink_errors", keyspace.stats.sinkErrors],
  ["keyspace_rejected", keyspace.stats.rejected]
]

const trafficStats: Section = ({ server: { stats, bus, turns } }) => [
  ["pubsub_patterns", bus.patternCount],
  ["pubsub_messages", bus.stats.published],
  ["pubsub_deliveries", bus.stats.delivered],
  ["client_output_buffer_limit_disconnections", stats.slowSubscribers + stats.replyOverflows],
  ["client_memory_disconnections", stats.memoryDisconnections],
  ["tenant_memory_disconnections", stats.tenantMemoryDisconnections],
  ["token_disconnections", stats.tokenDisconnections],
  ["client_turns_divided", turns.yields],
  ["client_output_pauses", stats.pauses],
  ["client_idle_disconnections", stats.idleDisconnections],
  ["client_crashes", stats.crashes],
  ["protocol_errors", stats.protocolErrors],
  ["total_error_replies", stats.errors]
]

const replication: Section = () => [
  ["role", "master"],
  ["connected_slaves", 0]
]

const cpu: Section = ({ tenant }) => {
  if (tenant !== null) return []
  const { user, system } = process.cpuUsage()
  return [
    ["used_cpu_sys", (system / 1e6).toFixed(6)],
    ["used_cpu_user", (user / 1e6).toFixed(6)]
  ]
}

const cluster: Section = () => [["cluster_enabled", 0]]

const keyspaceSection: Section = ({ keyspace }) =>
  keyspace.size === 0 ? [] : [["db0", `keys=${keyspace.size},expires=${keyspace.expiringSize},avg_ttl=0`]]

const sections: Readonly<Record<string, readonly [title: string, section: Section]>> = {
  server: ["Server", server],
  clients: ["Clients", clients],
  memory: ["Memory", memory],
  persistence: ["Persistence", persistence],
  stats: ["Stats", stats],
  replication: ["Replication", replication],
  cpu: ["CPU", cpu],
  cluster: ["Cluster", cluster],
  keyspace: ["Keyspace", keyspaceSection]
}

/** INFO [section …] */
export const info: Handler = (client, args) => {
  const asked = args.slice(1).map((name) => name.toLowerCase())
  const isAll =
    asked.length === 0 || asked.some((name) => name === "all" || name === "default" || name === "everything")
  const shown: string[] = []
  for (const [name, [title, section]] of Object.entries(sections)) {
    if (!isAll && !asked.includes(name)) continue
    shown.push(
      `# ${title}\r\n${section(client)
        .map(([field, value]) => `${field}:${value}\r\n`)
        .join("")}`
    )
  }
  client.reply.bulk(shown.join("\r\n"))
}
