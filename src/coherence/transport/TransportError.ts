import { Data } from "effect"

/** A transport cannot be opened, or cannot go on. */
export class TransportError extends Data.TaggedError("TransportError")<{
  /** `mesh`, `nats`, … */
  readonly transport: string
  /** What was wrong, and what would be right. Never a secret. */
  readonly reason: string
  readonly cause?: unknown
}> {
  override get message() {
    return `coherence over ${this.transport}: ${this.reason}`
  }
}
