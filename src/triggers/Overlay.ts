/**
 * What one run wants to change and send, held apart until it has returned (law 6): committed whole or dropped whole.
 *
 * The run's own reads look here first. A later write of a key takes the place of an earlier one, so a run commits at
 * most one change a key, in the order in which the keys were first touched.
 */
import type { Meta, Value } from "../kernel/index.ts"

export interface OverlaySet {
  readonly value: Value
  readonly expiresAtMs: number
  readonly meta: Meta
}

/** A change of one key: what to store, or null to delete. */
export type OverlayChange = OverlaySet | null

export interface OverlayEmit {
  readonly channel: string
  readonly payload: string
}

export interface OverlayWebhook {
  readonly id: string
  readonly url: string
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

/** A line for the log, with its stream where the script named one. */
export interface OverlayLog {
  readonly stream: string | null
  readonly message: string | null
  readonly fields: Readonly<Record<string, unknown>> | null
}

export class Overlay {
  readonly changes = new Map<string, OverlayChange>()
  readonly emits: OverlayEmit[] = []
  readonly webhooks: OverlayWebhook[] = []
  readonly logs: OverlayLog[] = []
  /** Keys to be loaded anew. */
  readonly warms = new Set<string>()
  private operations = 0
  private bytes = 0

  get isEmpty(): boolean {
    return this.operations === 0
  }

  /** There is something that leaves the cache, or comes into it. */
  get hasEffects(): boolean {
    return this.emits.length + this.webhooks.length + this.logs.length + this.warms.size > 0
  }

  /** Counts one more operation of `bytes`; false once a run wants more than it may (law 15). */
  admit(bytes: number): boolean {
    if (this.operations >= overlayOperationsMax || this.bytes + bytes > overlayBytesMax) return false
    this.operations++
    this.bytes += bytes
    return true
  }

  clear(): void {
    if (this.isEmpty) return
    // Emptying what is empty already would cost more than most runs do.
    if (this.changes.size > 0) this.changes.clear()
    if (this.emits.length > 0) this.emits.length = 0
    if (this.webhooks.length > 0) this.webhooks.length = 0
    if (this.logs.length > 0) this.logs.length = 0
    if (this.warms.size > 0) this.warms.clear()
    this.operations = 0
    this.bytes = 0
  }
}

export const overlayOperationsMax = 1_000 // writes, emits, webhooks, log lines and warmings of one run
export const overlayBytesMax = 1024 * 1024 // bytes of keys, values and payloads of one run
