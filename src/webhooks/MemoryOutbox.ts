/**
 * The outbox in memory: what is in it is lost with the process.
 *
 * A queue for each destination of each tenant (and of nobody), those that have something due in a ring, and a heap of what
 * waits for its next attempt. Taking is O(log n) a delivery and never walks over what cannot be sent: of the queues in the
 * ring only those at their limit are passed over, which are no more than requests in flight.
 *
 * A tenant has a share of the room, so that none can take it all from the others and the operator.
 *
 * Invariants: `pending` is the sum over the queues, and over the tenants with nobody's; an entry is in exactly one of a
 * queue, the heap, and `inFlight`; a queue is in the ring exactly when it holds something, and queues and tenants are known
 * only while they have entries.
 */
import { byteSizeOf, type Delivery, type Webhook } from "./Delivery.ts"
import { DueHeap } from "./internal/dueHeap.ts"
import type { DeadLetter, DeathCause, InFlight, InFlightLimits, OutboxStats, WebhookOutbox } from "./WebhookOutbox.ts"

export interface MemoryOutboxLimits {
  /** Deliveries at most; beyond, offers are refused. */
  readonly maxPending: number
  /** Deliveries at most to one destination, so that a dead one cannot take all the room. */
  readonly maxPendingPerDestination: number
  readonly maxPendingBytes: number
  /** The share of one tenant, in deliveries and in bytes. */
  readonly maxPendingPerTenant: number
  readonly maxPendingBytesPerTenant: number
  /** Dead letters kept; beyond, the oldest go. */
  readonly maxDeadLetters: number
  /** Those of one tenant; beyond, its own oldest go. */
  readonly maxDeadLettersPerTenant: number
}

class Entry implements InFlight {
  next: Entry | undefined
  dueAtMs = 0

  constructor(
    readonly ticket: number,
    public delivery: Delivery,
    readonly queue: Queue,
    readonly bytes: number
  ) {}

  get destination(): string {
    return this.queue.destination
  }
}

/** What one tenant has in the outbox. */
interface Share {
  pending: number
  bytes: number
}

/** What is due for one destination of one tenant, first in, first out. */
class Queue {
  head: Entry | undefined
  tail: Entry | undefined
  pending = 0
  inFlight = 0

  constructor(
    readonly name: string,
    readonly destination: string
  ) {}

  push(entry: Entry): void {
    if (this.tail === undefined) this.head = entry
    else this.tail.next = entry
    this.tail = entry
  }

  shift(): Entry | undefined {
    const entry = this.head
    this.head = entry?.next
    if (this.head === undefined) this.tail = undefined
    if (entry !== undefined) entry.next = undefined
    return entry
  }
}

export class MemoryOutbox implements WebhookOutbox {
  readonly stats: OutboxStats = {
    offered: 0,
    delivered: 0,
    retried: 0,
    recovered: 0,
    dead: { answer: 0, attempts: 0, egress: 0, invalid: 0 },
    overflow: 0,
    pending: 0,
    pendingBytes: 0,
    inFlight: 0
  }
  readonly deadLetters: Array<DeadLetter> = []

  private readonly queues = new Map<string, Queue>()
  private readonly shares = new Map<string, Share>()
  private readonly ring = new Set<Queue>()
  private readonly waiting = new DueHeap<Entry>()
  private readonly inFlight = new Map<number, Entry>()
  private lastTicket = 0

  constructor(private readonly limits: MemoryOutboxLimits) {}

  offer(webhook: Webhook, destination: string): boolean {
    const { stats, limits } = this
    const tenant = webhook.tenant?.id
    const bytes = byteSizeOf(webhook)
    const name = tenant === undefined ? destination : `${tenant} ${destination}` // a tenant's id has no space
    const known = this.queues.get(name)
    if (
      (tenant !== undefined && !this.hasShare(tenant, bytes)) ||
      stats.pending >= limits.maxPending ||
      stats.pendingBytes + bytes > limits.maxPendingBytes ||
      (known !== undefined && known.pending >= limits.maxPendingPerDestination)
    ) {
      stats.overflow++
      return false
    }
    const queue = known ?? this.addQueue(name, destination)
    if (tenant !== undefined) this.addToShare(tenant, bytes)
    queue.pending++
    stats.offered++
    stats.pending++
    stats.pendingBytes += bytes
    this.makeDue(new Entry(++this.lastTicket, { ...webhook, attempt: 0 }, queue, bytes))
    return true
  }

  takeDue(nowMs: number, { inFlightMax, inFlightPerDestinationMax }: InFlightLimits): Array<InFlight> {
    while (this.nextRetryAtMs() <= nowMs) this.makeDue(this.waiting.pop() as Entry)

    const taken: Array<InFlight> = []
    for (const queue of this.ring) {
      if (this.inFlight.size >= inFlightMax) break
      if (queue.inFlight >= inFlightPerDestinationMax) continue
      const entry = queue.shift() as Entry
      this.ring.delete(queue)
      if (queue.head !== undefined) this.ring.add(queue) // behind the others; this loop comes to it again
      entry.delivery = { ...entry.delivery, attempt: entry.delivery.attempt + 1 }
      queue.inFlight++
      this.inFlight.set(entry.ticket, entry)
      taken.push(entry)
    }
    this.stats.inFlight = this.inFlight.size
    return taken
  }

  nextRetryAtMs(): number {
    return this.waiting.first?.dueAtMs ?? Number.POSITIVE_INFINITY
  }

  delivered(ticket: number): void {
    const entry = this.land(ticket)
    if (entry === undefined) return
    this.stats.delivered++
    this.forget(entry)
  }

  retryAt(ticket: number, atMs: number): void {
    const entry = this.land(ticket)
    if (entry === undefined) return
    this.stats.retried++
    entry.dueAtMs = atMs
    this.waiting.push(entry)
  }

  dead(ticket: number, diedAtMs: number, cause: DeathCause, detail: string): boolean {
    const entry = this.land(ticket)
    if (entry === undefined) return false
    this.forget(entry)
    const { delivery, destination } = entry
    this.addDeadLetter(delivery, { destination, diedAtMs, cause, detail })
    return true
  }

  bury(webhook: Webhook, destination: string, cause: DeathCause, detail: string): void {
    this.addDeadLetter({ ...webhook, attempt: 0 }, { destination, diedAtMs: webhook.createdAtMs, cause, detail })
  }

  recover(): number {
    const lost = [...this.inFlight.keys()]
    for (const ticket of lost) {
      const entry = this.land(ticket) as Entry
      entry.delivery = { ...entry.delivery, attempt: entry.delivery.attempt - 1 }
      this.makeDue(entry)
    }
    this.stats.recovered += lost.length
    return lost.length
  }

  private addDeadLetter(dead: Delivery, end: Omit<DeadLetter, "delivery">): void {
    const { maxDeadLetters, maxDeadLettersPerTenant } = this.limits
    const { url: _url, body: _body, headers: _headers, ...delivery } = dead
    this.stats.dead[end.cause]++
    this.deadLetters.push({ delivery, ...end })
    const tenant = delivery.tenant?.id
    const isOwn = (letter: DeadLetter) => letter.delivery.tenant?.id === tenant
    if (tenant !== undefined && this.deadLetters.filter(isOwn).length > maxDeadLettersPerTenant) {
      this.deadLetters.splice(this.deadLetters.findIndex(isOwn), 1)
    } else if (this.deadLetters.length > maxDeadLetters) this.deadLetters.shift()
  }

  private addQueue(name: string, destination: string): Queue {
    const queue = new Queue(name, destination)
    this.queues.set(name, queue)
    return queue
  }

  private hasShare(tenant: string, bytes: number): boolean {
    const { maxPendingPerTenant, maxPendingBytesPerTenant } = this.limits
    const share = this.shares.get(tenant) ?? noShare
    return share.pending < maxPendingPerTenant && share.bytes + bytes <= maxPendingBytesPerTenant
  }

  private addToShare(tenant: string, bytes: number): void {
    const share = this.shares.get(tenant)
    if (share === undefined) {
      this.shares.set(tenant, { pending: 1, bytes })
      return
    }
    share.pending++
    share.bytes += bytes
  }

  private makeDue(entry: Entry): void {
    entry.queue.push(entry)
    this.ring.add(entry.queue)
  }

  private land(ticket: number): Entry | undefined {
    const entry = this.inFlight.get(ticket)
    if (entry === undefined) return undefined
    this.inFlight.delete(ticket)
    entry.queue.inFlight--
    this.stats.inFlight = this.inFlight.size
    return entry
  }

  private forget({ queue, bytes, delivery }: Entry): void {
    const tenant = delivery.tenant?.id
    const share = tenant === undefined ? undefined : this.shares.get(tenant)
    if (share !== undefined) {
      share.pending--
      share.bytes -= bytes
      if (share.pending === 0) this.shares.delete(tenant as string)
    }
    queue.pending--
    this.stats.pending--
    this.stats.pendingBytes -= bytes
    if (queue.pending === 0) this.queues.delete(queue.name)
  }
}

const noShare: Share = { pending: 0, bytes: 0 }
