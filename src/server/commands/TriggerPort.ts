/**
 * What TRIGGER … asks of the engine. Whoever builds the engine gives it to the server; the server never builds one.
 */
import type { DryRunReport, TestEvent } from "../../triggers/DryRun.ts"
import type { RegisteredTrigger, TriggerInput } from "../../triggers/Trigger.ts"
import type { InvalidTrigger, TriggerNotFound, TriggerSyntaxError } from "../../triggers/TriggerError.ts"
import type { TriggerLogRecord } from "../../triggers/TriggerLog.ts"

export interface TriggerPort {
  /** Registers a trigger, or replaces the one of that name. Rejects with an error whose message is for the client. */
  set(input: TriggerInput): Promise<RegisteredTrigger>
  /** Resolves to false when there was none; rejects with an error whose message is for the client. */
  remove(name: string): Promise<boolean>
  list(): readonly RegisteredTrigger[]
  info(name: string): RegisteredTrigger | undefined
  /** Runs a trigger, or a source, on a made-up event; nothing happens. */
  test(
    subject: { readonly name: string } | { readonly source: string },
    event: TestEvent
  ): DryRunReport | TriggerNotFound | TriggerSyntaxError | InvalidTrigger
  /** What went wrong or did not run, newest first. */
  log(count: number): readonly TriggerLogRecord[]
}
