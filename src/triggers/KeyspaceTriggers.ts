/**
 * The triggers of one keyspace with all that is theirs alone, put together; whatever they share comes from the Engine.
 */
import { type Tenant, toBytes } from "../cache/index.ts"
import type { Keyspace } from "../kernel/index.ts"
import { type DryMachine, DryRunner, type DryRunReport, type TestEvent } from "./DryRun.ts"
import type { EngineOptions } from "./Engine.ts"
import { dryRunOnHistory, type HistoryReport } from "./History.ts"
import { type LogCounters, LogStreams, logStreamLimitsOfTenant } from "./LogStreams.ts"
import type { Machines } from "./Machines.ts"
import { memoryBytesDefault, timeoutUsDefault } from "./Trigger.ts"
import { type HistoryOff, TriggerNotFound, type TriggerSyntaxError } from "./TriggerError.ts"
import { TriggerLog, type TriggerLogRecord } from "./TriggerLog.ts"
import { type RegistryLimits, registryLimitsDefault, TriggerRegistry } from "./TriggerRegistry.ts"
import { type RunnerCounters, TriggerRunner } from "./TriggerRunner.ts"
import { refOf } from "./TriggerStore.ts"

/** What is tried: a registered trigger, a source that is not registered, or a source in the place of a trigger's. */
export interface TestSubject {
  readonly name?: string
  readonly source?: string
}

/** What those ask who speak the kernel's bytes, as servers do. Synchronous. */
export interface TriggersInBytes {
  readonly test: (subject: TestSubject, event: TestEvent) => DryRunReport | TriggerNotFound | TriggerSyntaxError
  readonly testHistory: (
    subject: TestSubject,
    count: number
  ) => HistoryReport | TriggerNotFound | TriggerSyntaxError | HistoryOff
  readonly log: (count: number) => TriggerLogRecord[]
  readonly logs: Pick<LogStreams, "list" | "read">
}

/** What the triggers of all keyspaces share. */
export interface SharedParts extends EngineOptions {
  readonly dryMachine: DryMachine
  readonly counters: RunnerCounters
  readonly logCounters: LogCounters
}

const recordsMax = 1_000 // records of failures and skips that TRIGGER LOG keeps
const recordsOfTenantMax = 250 // 400 KB, where all of them have long keys and messages
const registryLimitsOfTenant: RegistryLimits = { triggersMax: 1_000, sourceBytesMax: 2 * 1024 * 1024 }

export class KeyspaceTriggers {
  readonly registry: TriggerRegistry
  readonly runner: TriggerRunner
  readonly records: TriggerLog
  readonly logs: LogStreams
  readonly inBytes: TriggersInBytes

  constructor(
    readonly keyspace: Keyspace,
    /** Null for the main keyspace. */
    readonly tenant: Tenant | null,
    readonly machines: Machines,
    shared: SharedParts
  ) {
    const { origin, cascade, intensity, webhooks, bus, journal, warming, nowMs, monotonicMs } = shared
    const { dryMachine, counters } = shared
    const records = new TriggerLog(tenant === null ? recordsMax : recordsOfTenantMax)
    const logs = new LogStreams(tenant === null ? {} : logStreamLimitsOfTenant, shared.logCounters)
    const limits = tenant === null ? registryLimitsDefault : registryLimitsOfTenant
    const registry = new TriggerRegistry(keyspace, machines, nowMs, intensity, limits)
    const dryRunner = new DryRunner({ keyspace, origin, nowMs, monotonicMs, machine: dryMachine })
    this.records = records
    this.logs = logs
    this.registry = registry
    this.runner = new TriggerRunner({
      machines,
      log: records,
      ports: {
        webhooks,
        emits: tenant === null ? bus : withPrefix(bus, toBytes(`${tenant.prefix}:`)),
        lines: {
          offer: (line) => {
            logs.append(line)
            return journal(line)
          }
        },
        warming
      },
      cascade,
      nowMs,
      monotonicMs,
      tenant: tenant === null ? null : refOf(tenant),
      counters
    })
    this.inBytes = {
      test: (subject, event) => {
        const definition = definitionOf(subject, registry)
        return definition instanceof TriggerNotFound ? definition : dryRunner.test(definition, event)
      },
      testHistory: (subject, count) => {
        const definition = definitionOf(subject, registry)
        if (definition instanceof TriggerNotFound) return definition
        const isCompared = subject.name !== undefined && subject.source !== undefined
        const current = isCompared ? (registry.get(subject.name)?.definition ?? null) : null
        return dryRunOnHistory(keyspace, dryRunner, definition, current, count)
      },
      log: (count) => records.recent(count),
      logs
    }
  }

  /** Whether they are to survive a restart: not those of a tenant that does not. */
  get isSaved(): boolean {
    return this.tenant === null || this.tenant.isSaved
  }
}

/** A tenant's channels have its prefix outside, and none inside. */
const withPrefix = (bus: EngineOptions["bus"], prefix: string): EngineOptions["bus"] => ({
  publish: (channel, payload) => bus.publish(prefix + channel, payload)
})

/** What is to be run: a trigger's definition, or what it would be with another source. */
const definitionOf = ({ name, source }: TestSubject, registry: TriggerRegistry) => {
  if (name === undefined) return unregistered(source ?? "")
  const definition = registry.get(name)?.definition
  if (definition === undefined) return new TriggerNotFound({ trigger: name })
  return source === undefined ? definition : { ...definition, source }
}

const unregistered = (source: string) => ({
  name: "test",
  source,
  timeoutUs: timeoutUsDefault,
  memoryBytes: memoryBytesDefault
})
