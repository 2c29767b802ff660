/**
 * How long a write waits for other instances: not at all, until one of them has applied it, or until all that live have.
 * Supplied by the room of coherence; a cache by itself has nobody to wait for.
 */
import { Context } from "effect"

/** `async`: for nobody. `one`: one other instance. `live`: all that are heard of. */
export type AckMode = (typeof ackModes)[number]

export const ackModes = ["async", "one", "live"] as const

/** Whether it is one of them: programs without types may give anything, and a misspelt `live` must not wait for nobody. */
export const isAckMode = (mode: unknown): mode is AckMode => (ackModes as readonly unknown[]).includes(mode)

export interface AcknowledgementService {
  /** For writes that do not say. */
  readonly ackMode: AckMode
  /**
   * Is fulfilled when all that was written here so far has been applied by whom `mode` names, or after a while: with the
   * names of those who have not.
   */
  readonly acknowledged: (mode: AckMode) => Promise<{ readonly missing: readonly string[] }>
}

export class Acknowledgement extends Context.Reference<Acknowledgement>()("mimosa-cache/cache/Acknowledgement", {
  defaultValue: (): AcknowledgementService => ({
    ackMode: "async",
    acknowledged: () => Promise.resolve({ missing: [] })
  })
}) {}

/** What a write may say about others. */
export interface WriteOptions {
  /** How long it waits for other instances to have applied it. Default: what the program was started with. */
  readonly ackMode?: AckMode
}
