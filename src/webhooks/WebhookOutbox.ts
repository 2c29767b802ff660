/**
 * The webhooks that are due: what a delivery is in, from the commit of the trigger run that asked for it until it is
 * delivered or given up.
 *
 * Synchronous, with time passed in. The scope above the dispatcher owns it, so it outlives the dispatcher's crashes; an
 * outbox that writes to the durable log keeps this interface and outlives the process too.
 *
 *                      offer                takeDue                delivered, dead
 *   (nothing) ─────────────────► due ─────────────────► in flight ─────────────────► (nothing)
 *                                 ▲ its time has come      │  │
 *                                 └────────── waiting ◄────┘  │ recover
 *                                 ▲            retryAt        │
 *                                 └───────────────────────────┘
 */
import type { Delivery, Webhook } from "./Delivery.ts"

export interface WebhookOutbox {
  readonly stats: Readonly<OutboxStats>
  /** The last that were given up, oldest first; bounded, with a share for each tenant. */
  readonly deadLetters: ReadonlyArray<DeadLetter>

  /** Takes the webhook in, due at once. False, and counted, when there is no room for it: it is lost. O(1). */
  offer(webhook: Webhook, destination: string): boolean

  /** Counts and lists a webhook that was never taken in, because it could not be sent. */
  bury(webhook: Webhook, destination: string, cause: DeathCause, detail: string): void

  /**
   * Takes what is due and may be sent now, `attempt` already raised; in order within a destination, destinations in
   * turn, so that a slow one holds up no other.
   */
  takeDue(nowMs: number, limits: InFlightLimits): Array<InFlight>

  /** When `takeDue` may give something again without any other call: the earliest retry; Infinity for none. */
  nextRetryAtMs(): number

  /** The three ends of an attempt. A ticket that is not in flight (any more) is ignored, and `dead` answers false. */
  delivered(ticket: number): void
  retryAt(ticket: number, atMs: number): void
  dead(ticket: number, nowMs: number, cause: DeathCause, detail: string): boolean

  /**
   * Makes due again what was in flight when its dispatcher went away, in the order it was taken. Attempts cut off that
   * way do not count. Answers how many there were.
   */
  recover(): number
}

/** A delivery on its way. The ticket names it towards the outbox: ids come from outside and may repeat. */
export interface InFlight {
  readonly ticket: number
  readonly delivery: Delivery
  readonly destination: string
}

export interface InFlightLimits {
  readonly inFlightMax: number
  readonly inFlightPerDestinationMax: number
}

/** Refused by the receiver's answer; out of attempts; stopped by the egress policy; not fit to be sent. */
export type DeathCause = "answer" | "attempts" | "egress" | "invalid"

export interface DeadLetter {
  /** Without what may carry a secret. */
  readonly delivery: Omit<Delivery, "url" | "body" | "headers">
  /** Scheme, host and port, where they are known. */
  readonly destination: string
  readonly diedAtMs: number
  readonly cause: DeathCause
  /** What the last attempt met: `status 410`, `connect ECONNREFUSED …`. */
  readonly detail: string
}

export interface OutboxStats {
  offered: number
  delivered: number
  retried: number
  recovered: number
  dead: Record<DeathCause, number>
  /** Offers for which there was no room. */
  overflow: number
  /** Gauges: all that is in the outbox, its bytes, and the part of it that is in flight. */
  pending: number
  pendingBytes: number
  inFlight: number
}
