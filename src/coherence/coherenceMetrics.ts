/** What coherence counts, for those who expose it. */
import { type Histogram, type MetricReader, metric } from "../telemetry/index.ts"
import type { Backups } from "./Backups.ts"
import type { Definitions } from "./Definitions.ts"
import type { Driver } from "./Driver.ts"
import type { PeerFills } from "./PeerFills.ts"
import type { Instance } from "./protocol/Instance.ts"
import type { SharedEntries } from "./SharedEntries.ts"
import type { Warming } from "./Warming.ts"

export interface Counted {
  readonly instance: Instance
  readonly entries: SharedEntries
  readonly backups: Backups
  readonly definitions: Definitions
  readonly driver: Driver
  readonly peers: PeerFills
  readonly warming: Warming
  /** Seconds until what was written here was known to be applied by all that live. */
  readonly propagation: Histogram
}

export const metricsOf = ({
  instance,
  entries,
  backups,
  definitions,
  driver,
  peers,
  warming,
  propagation
}: Counted): readonly MetricReader[] => [
  {
    ...metric.coherenceMembers,
    read: () => {
      const { live, suspects } = instance.members
      return [
        [{ state: "live" }, live.size - suspects],
        [{ state: "suspect" }, suspects]
      ]
    }
  },
  { ...metric.coherenceCoherent, read: () => (instance.isCoherent ? 1 : 0) },
  { ...metric.coherenceDegraded, read: () => driver.degradedMs() / 1_000 },
  { ...metric.coherenceWritten, read: () => instance.written },
  {
    ...metric.coherenceMissing,
    read: () => {
      let missing = 0
      for (const { marks } of instance.members.live.values()) missing += marks.advertised - marks.contiguous
      return missing
    }
  },
  { ...metric.coherenceBackups, read: () => backups.held },
  { ...metric.coherencePropagation, read: () => propagation },
  {
    ...metric.coherenceEvents,
    read: () => {
      const events = Object.entries({
        ...instance.stats,
        ...prefixed("entries", entries.stats),
        ...prefixed("driver", driver.stats),
        ...prefixed("warming", warming.stats),
        ...prefixed("definitions", definitions.stats),
        ...prefixed("backups", backups.stats),
        undecodable: peers.undecodable
      })
      return events.map(([event, count]) => [{ event }, count] as const)
    }
  }
]

/** Counters with a word before their names: `warmingFetched`. */
export const prefixed = (prefix: string, counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [`${prefix}${name[0]?.toUpperCase()}${name.slice(1)}`, count])
  )
