/**
 * What the processes of this JavaScript realm come to, as metrics for whoever exposes them.
 */
import { type MetricReader, metric } from "../telemetry/index.ts"
import { counters } from "./internal/counters.ts"
import { live, zombies } from "./internal/process.ts"

/**
 * One reader a metric; the plain numbers are in `Process.totals`.
 *
 * @example
 * registry.register(...ProcessMetrics.readers)
 */
export const readers: ReadonlyArray<MetricReader> = [
  { ...metric.processes, read: () => live.size },
  { ...metric.processZombies, read: () => zombies.size },
  { ...metric.processesSpawned, read: () => counters.spawned },
  {
    ...metric.processesEnded,
    read: () => [
      [{ reason: "asked" }, counters.ended] as const,
      [{ reason: "killed" }, counters.killed] as const,
      [{ reason: "failure" }, counters.failed] as const,
      [{ reason: "defect" }, counters.died] as const
    ]
  },
  { ...metric.processRestarts, read: () => counters.restarts },
  { ...metric.supervisorEscalations, read: () => counters.escalations },
  { ...metric.callTimeouts, read: () => counters.callTimeouts },
  {
    ...metric.mailboxLosses,
    read: () => [
      [{ policy: "dropOldest" }, counters.messagesDropped] as const,
      [{ policy: "reject" }, counters.messagesRejected] as const
    ]
  }
]
