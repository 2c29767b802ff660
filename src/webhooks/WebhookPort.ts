/**
 * Where synchronous code hands over a webhook: checks it, puts it into the outbox, and has the dispatcher woken later.
 *
 * Later means in a turn of its own: whatever asked for the webhook has returned by then, and many offers of one turn
 * make one wake-up. Without a dispatcher, while it is being restarted, webhooks wait in the outbox.
 */
import { type Delivery, refusalOf, type Webhook } from "./Delivery.ts"
import { destinationOf, type EgressPolicy } from "./EgressPolicy.ts"
import type { WebhookOutbox } from "./WebhookOutbox.ts"
import { EgressRefused } from "./WebhooksError.ts"

/** Those who asked for webhooks: they hear of what they handed over and will not be delivered. */
export interface GivenUpListener {
  /** Synchronous, and never throws. */
  onGivenUp(webhook: GivenUp): void
}

export interface GivenUp {
  readonly delivery: Delivery
  /** Scheme, host and port; for whoever reads of it, for the URL may carry a secret. */
  readonly destination: string
  /** What the last attempt met. A tenant's has no addresses in it: where names lead is not a tenant's to know. */
  readonly reason: string
}

export class WebhookPort {
  private readonly listeners = new Set<GivenUpListener>()
  private wake: (() => void) | undefined
  private isWaking = false
  /** Why the last webhook that was not taken was not. */
  lastRefusal = ""

  constructor(
    private readonly outbox: WebhookOutbox,
    private readonly policy: EgressPolicy
  ) {}

  /**
   * True when the webhook is in the outbox. False when it never will be: it cannot be sent as it is, the egress policy
   * refuses its URL (both are among the outbox' dead letters, with the reason), or there is no room. Never throws.
   */
  offer(webhook: Webhook): boolean {
    const url = this.policy.checkUrl(webhook.url)
    if (url instanceof EgressRefused) return this.refuse(webhook, url.destination, "egress", url.message)
    const destination = destinationOf(url)
    const reason = refusalOf(webhook)
    if (reason !== undefined) return this.refuse(webhook, destination, "invalid", reason)
    if (!this.outbox.offer(webhook, destination)) {
      this.lastRefusal = "the outbox is full"
      return false
    }
    this.wakeSoon()
    return true
  }

  /** Has the listener told of each webhook that was taken and is given up; the returned function takes that back. */
  listen(listener: GivenUpListener): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** The dispatcher's word that it has given up. */
  giveUp(webhook: GivenUp): void {
    for (const listener of this.listeners) listener.onGivenUp(webhook)
  }

  /** Says how to wake the dispatcher that serves the outbox now; the returned function takes that back. */
  attach(wake: () => void): () => void {
    this.wake = wake
    return () => {
      if (this.wake === wake) this.wake = undefined
    }
  }

  private refuse(webhook: Webhook, destination: string, cause: "egress" | "invalid", detail: string): false {
    this.lastRefusal = detail
    this.outbox.bury(webhook, destination, cause, detail)
    return false
  }

  private wakeSoon(): void {
    if (this.isWaking) return
    this.isWaking = true
    setImmediate(this.wakeNow)
  }

  private readonly wakeNow = (): void => {
    this.isWaking = false
    this.wake?.()
  }
}
