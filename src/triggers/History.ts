/**
 * A dry run on what has happened: a trigger, or a source that may take its place, on the last events of the keyspace's
 * log, with what it would do to each and in sum. Beside a trigger that runs, what the two would do differently.
 *
 * The events are as they were; what a run reads through `cache.get` is the keyspace as it is now. BEFORE_ questions and
 * reads are in no log, so nothing is tried on them.
 *
 * All of it happens in one go, and so within bounds, of fuel and not of time: the same question has the same answer on
 * every machine. The newest events come first; those that the fuel did not suffice for are the oldest.
 */
import { asText, cutText, toBytes } from "../cache/index.ts"
import { type KeyEvent, type Keyspace, type Pattern, parsePattern, patternMatches } from "../kernel/index.ts"
import {
  type DryRunner,
  type DryRunReport,
  type Outcome,
  operationsOf,
  Room,
  type Runnable,
  reportOf,
  sameEffects,
  type Trial
} from "./DryRun.ts"
import { eventNameOf, type TriggerDefinition, type TriggerEventName } from "./Trigger.ts"
import { HistoryOff, type TriggerSyntaxError } from "./TriggerError.ts"

export interface HistoryReport {
  /** Events of the log that were looked at. */
  readonly events: number
  /** Those that are for the trigger. */
  readonly matched: number
  /** One for each of these, but for the oldest that were cut; the oldest first. */
  readonly runs: readonly HistoryRun[]
  /** Of all runs, with what they do not list. */
  readonly sum: HistorySum
  /** What the running version would do on the same events; null where there is none to compare with. */
  readonly current: HistorySum | null
  readonly cut: HistoryCut
}

export interface HistoryCut {
  /** Events of the trigger, the oldest, for which the fuel of all runs together did not suffice. */
  readonly runs: number
  /** Changes, effects and results that were counted and are not listed: 20 a run are, and 1 MiB of all. */
  readonly changes: number
}

export interface HistoryRun {
  readonly sequence: number
  readonly event: TriggerEventName
  /** Its first 256 characters. */
  readonly key: string
  readonly report: ListedReport
  /** What the running version would do, where that is something else; null otherwise. */
  readonly current: ListedReport | null
}

export interface ListedReport extends DryRunReport {
  /** What else it would do. */
  readonly unlisted: number
}

export interface HistorySum {
  readonly ok: number
  readonly failed: number
  readonly writes: number
  readonly deletes: number
  readonly emits: number
  readonly webhooks: number
  readonly logs: number
  readonly warms: number
  readonly fuel: number
}

/** Where the events are looked for; those of a source without a trigger may be any. */
type Watched = Pick<TriggerDefinition, "pattern" | "events">

export const historyMax = 1_000 // events; as many as a server's log keeps

/** Fuel of all runs of one question: 50 ms of computing at about 4 ns a unit. */
export const historyFuel = 12_500_000
const trialFuel = 5_000 // units: the 20 µs in which the machine is rewound and its outcome taken down
const operationFuel = 500 // units: the 2 µs that a change or an effect costs beside what its run is charged for it
const listedMax = 20 // changes and effects that one run lists
const listedBytesMax = 1024 * 1024 // bytes of what all runs list
const keyLengthMax = 256 // characters of a key that a run shows

export const dryRunOnHistory = (
  keyspace: Keyspace,
  dryRunner: DryRunner,
  candidate: Runnable & Partial<Watched>,
  current: Runnable | null,
  count: number
): HistoryReport | TriggerSyntaxError | HistoryOff => {
  if (keyspace.log.capacity === 0) return new HistoryOff()
  const latest = keyspace.log.last(Math.min(count, historyMax))
  const events = eventsFor(candidate, latest)
  return dryRunner.tryAll(current === null ? [candidate] : [candidate, current], ([trial, other]) => {
    const room = new Room(listedMax, listedBytesMax)
    const sum = new Sum()
    const currentSum = other === undefined ? null : new Sum()
    const runs: HistoryRun[] = []
    let fuel = 0
    for (let at = events.length - 1; at >= 0 && fuel < historyFuel; at--) {
      const event = events[at] as KeyEvent
      const outcome = (trial as Trial).run(event)
      const compared = other?.run(event)
      fuel += sum.add(outcome)
      if (compared !== undefined) fuel += (currentSum as Sum).add(compared)
      runs.push({
        sequence: event.sequence,
        event: eventNameOf(event),
        key: cutText(asText(event.key), keyLengthMax),
        report: listed(outcome, room),
        current: compared === undefined || sameEffects(compared, outcome) ? null : listed(compared, room)
      })
    }
    return {
      events: latest.length,
      matched: events.length,
      runs: runs.reverse(),
      sum: sum.show(),
      current: currentSum === null ? null : currentSum.show(),
      cut: { runs: events.length - runs.length, changes: room.left }
    }
  })
}

const listed = (outcome: Outcome, room: Room): ListedReport => {
  const before = room.left
  room.begin()
  const report = reportOf(outcome, room)
  return { ...report, unlisted: room.left - before }
}

/** Those that a trigger would have run on. */
const eventsFor = ({ pattern, events }: Partial<Watched>, all: readonly KeyEvent[]): KeyEvent[] => {
  const parsed = pattern === undefined ? undefined : (parsePattern(toBytes(pattern)) as Pattern)
  return all.filter((event) => {
    const name: TriggerEventName | undefined = eventNameOf(event)
    if (name === undefined || (events !== undefined && !events.includes(name))) return false
    return parsed === undefined || patternMatches(parsed, event.key)
  })
}

class Sum {
  private ok = 0
  private failed = 0
  private writes = 0
  private deletes = 0
  private emits = 0
  private webhooks = 0
  private logs = 0
  private warms = 0
  private fuel = 0

  /** Returns what the run is to be counted for, in fuel. */
  add(outcome: Outcome): number {
    if (outcome.status === "ok") this.ok++
    else this.failed++
    for (const [, change] of outcome.changes) {
      if (change === null) this.deletes++
      else this.writes++
    }
    this.emits += outcome.emits.length
    this.webhooks += outcome.webhooks.length
    this.logs += outcome.logs.length
    this.warms += outcome.warms.length
    this.fuel += outcome.fuel
    return trialFuel + outcome.fuel + operationFuel * operationsOf(outcome)
  }

  show(): HistorySum {
    const { ok, failed, writes, deletes, emits, webhooks, logs, warms, fuel } = this
    return { ok, failed, writes, deletes, emits, webhooks, logs, warms, fuel }
  }
}
