/**
 * A dry run on what has happened: a trigger, or a source that may take its place, on the last events of the keyspace's
 * log, with what it would do to each and in sum. Beside a trigger that runs, what the two would do differently.
 *
 * The events are as they were; what a run reads through `cache.get` is the keyspace as it is now. BEFORE_ questions and
 * reads are in no log, so nothing is tried on them.
 */
import { toBytes } from "../cache/index.ts"
import { type KeyEvent, type Keyspace, type Pattern, parsePattern, patternMatches } from "../kernel/index.ts"
import { type DryRunner, type DryRunReport, type Runnable, sameEffects } from "./DryRun.ts"
import { eventNameOf, type TriggerDefinition, type TriggerEventName } from "./Trigger.ts"
import { HistoryOff, TriggerSyntaxError } from "./TriggerError.ts"

export interface HistoryReport {
  /** Events of the log that were looked at. */
  readonly events: number
  /** Those that are for the trigger. */
  readonly matched: number
  readonly runs: readonly HistoryRun[]
  readonly sum: HistorySum
  /** What the running version would do on the same events; null where there is none to compare with. */
  readonly current: HistorySum | null
}

export interface HistoryRun {
  readonly sequence: number
  readonly event: TriggerEventName
  /** As the kernel holds it. */
  readonly key: string
  readonly report: DryRunReport
  /** What the running version would do, where that is something else; null otherwise. */
  readonly current: DryRunReport | null
}

export interface HistorySum {
  readonly ok: number
  readonly failed: number
  readonly writes: number
  readonly deletes: number
  readonly emits: number
  readonly webhooks: number
  readonly logs: number
  readonly fuel: number
}

/** Where the events are looked for; those of a source without a trigger may be any. */
type Watched = Pick<TriggerDefinition, "pattern" | "events">

export const historyMax = 1_000 // events; as many as a server's log keeps

export const dryRunOnHistory = (
  keyspace: Keyspace,
  dryRunner: DryRunner,
  candidate: Runnable & Partial<Watched>,
  current: Runnable | null,
  count: number
): HistoryReport | TriggerSyntaxError | HistoryOff => {
  if (keyspace.log.capacity === 0) return new HistoryOff()
  const kept = keyspace.log.recent()
  const latest = kept.slice(Math.max(0, kept.length - Math.min(count, historyMax)))
  const events = latest.filter((event) => isFor(candidate, event))
  const reports = dryRunner.runAll(candidate, events)
  if (reports instanceof TriggerSyntaxError) return reports
  const currents = current === null ? null : dryRunner.runAll(current, events)
  if (currents instanceof TriggerSyntaxError) return currents
  return {
    events: latest.length,
    matched: events.length,
    runs: events.map((event, i) => {
      const report = reports[i] as DryRunReport
      const other = currents?.[i] ?? null
      return {
        sequence: event.sequence,
        event: eventNameOf(event),
        key: event.key,
        report,
        current: other === null || sameEffects(other, report) ? null : other
      }
    }),
    sum: sumOf(reports),
    current: currents === null ? null : sumOf(currents)
  }
}

const isFor = ({ pattern, events }: Partial<Watched>, event: KeyEvent): boolean => {
  const name: TriggerEventName | undefined = eventNameOf(event)
  if (name === undefined || (events !== undefined && !events.includes(name))) return false
  return pattern === undefined || patternMatches(parsePattern(toBytes(pattern)) as Pattern, event.key)
}

const sumOf = (reports: readonly DryRunReport[]): HistorySum => {
  const sum = (of: (report: DryRunReport) => number) => reports.reduce((total, report) => total + of(report), 0)
  const ok = sum(({ status }) => (status === "ok" ? 1 : 0))
  return {
    ok,
    failed: reports.length - ok,
    writes: sum(({ writes }) => writes.length),
    deletes: sum(({ deletes }) => deletes.length),
    emits: sum(({ emits }) => emits.length),
    webhooks: sum(({ webhooks }) => webhooks.length),
    logs: sum(({ logs }) => logs.length),
    fuel: sum(({ fuel }) => fuel)
  }
}
