/**
 * What TRIGGER … asks of the engine. Whoever builds the engine gives it to the server; the server never builds one.
 *
 * What returns a promise rejects with an error whose message is for the client.
 */
import type { Tenant } from "../../cache/Tenants.ts"
import type { DryRunReport, TestEvent } from "../../triggers/DryRun.ts"
import type { HistoryReport } from "../../triggers/History.ts"
import type { LogStreams } from "../../triggers/LogStreams.ts"
import type { RegisteredTrigger, TriggerInput } from "../../triggers/Trigger.ts"
import type { HistoryOff, TriggerNotFound, TriggerSyntaxError } from "../../triggers/TriggerError.ts"
import type { TriggerGraph } from "../../triggers/TriggerGraph.ts"
import type { TriggerLogRecord } from "../../triggers/TriggerLog.ts"
import type { ShadowInput, TriggerHistory } from "../../triggers/TriggerRegistry.ts"
import type { TestSubject } from "../../triggers/Triggers.ts"

export interface TriggerPort {
  /** The same for the triggers of a tenant, on its own keys. */
  forTenant(tenant: Tenant): TriggerPort
  /** Registers a trigger, or replaces the one of that name. */
  set(input: TriggerInput): Promise<RegisteredTrigger>
  /** Resolves to false when there was none. */
  remove(name: string): Promise<boolean>
  enable(name: string, isEnabled: boolean): Promise<RegisteredTrigger>
  versions(name: string): Promise<TriggerHistory>
  /** Has an earlier version run again; without a number the one before. */
  rollback(name: string, version?: number): Promise<RegisteredTrigger>
  shadow(name: string, input: ShadowInput): Promise<RegisteredTrigger>
  /** Resolves to false when there was no shadow. */
  dropShadow(name: string): Promise<boolean>
  promote(name: string): Promise<RegisteredTrigger>
  /** Each as it is when it is come to, which may be in a later turn. */
  list(): Iterable<RegisteredTrigger>
  info(name: string): RegisteredTrigger | undefined
  /** What can be said against it: cycles, and what its source does not tell. */
  warnings(name: string): readonly string[]
  /** What sets off what. */
  graph(): TriggerGraph
  /** Runs a trigger, or a source, on a made-up event; nothing happens. */
  test(subject: TestSubject, event: TestEvent): DryRunReport | TriggerNotFound | TriggerSyntaxError
  /** Runs them on the last events that happened; nothing happens. */
  testHistory(subject: TestSubject, count: number): HistoryReport | TriggerNotFound | TriggerSyntaxError | HistoryOff
  /** What went wrong or did not run, newest first. */
  log(count: number): readonly TriggerLogRecord[]
  /** What triggers have logged. */
  readonly logs: Pick<LogStreams, "list" | "read">
}
