/**
 * Moves one instance of the protocol in real time: it hands frames over in both directions, and comes when it is due.
 *
 * What the instance wants at once it gets at the end of the current piece of work (a microtask), so that all writes of
 * one turn leave in one frame; what it wants within a millisecond it gets in a later round of the event loop, since a
 * timer of Node cannot be that short. While nobody runs it, frames that come in are dropped and counted: a gap like any
 * other, which is closed afterwards. Where the instance has thrown it is told so when it is run again (`recover`).
 */
import { Effect } from "effect"
import { Propagation } from "./Propagation.ts"
import type { Instance } from "./protocol/Instance.ts"
import type { Network } from "./protocol/Network.ts"
import type { PeerInfo, Transport, TransportListener } from "./transport/Transport.ts"

export class Driver implements Network, TransportListener {
  readonly stats = {
    /** Frames that came while nobody ran the instance. */
    dropped: 0,
    /** What the instance has thrown: defects, each of which crashed its process. */
    crashes: 0
  }
  readonly propagation = new Propagation()
  /** The broker that carries all messages, without credentials, and whether it is there; null where there is none. */
  carrier: { readonly isUp: boolean; readonly what: string } | null = null
  private instance: Instance | null = null
  private transport: Transport | null = null
  private onCrash: ((defect: unknown) => void) | null = null
  /** The instance has thrown since it was run, so it may have left something half done. */
  private hasThrown = false
  private timer: NodeJS.Timeout | null = null
  private timerAtMs = Number.POSITIVE_INFINITY
  private isTickQueued = false
  private soonAtMs = Number.POSITIVE_INFINITY
  private isSoonQueued = false
  private degradedTotalMs = 0
  private degradedFromMs: number | null = null
  /** Who waits for something to be so; each looks whether it is after whatever happens. */
  private readonly waiting = new Set<() => boolean>()
  private isEnded = false

  constructor(private readonly monotonicMs: () => number) {}

  bind(instance: Instance, transport: Transport): void {
    this.instance = instance
    this.transport = transport
  }

  /** Is over once that is so; interrupted where it can no longer become so. */
  until(isSo: (instance: Instance) => boolean): Effect.Effect<void> {
    return Effect.async((resume) => {
      const look = (): boolean => {
        const isOver = this.instance !== null && isSo(this.instance)
        if (!isOver && !this.isEnded) return false
        this.waiting.delete(look)
        resume(isOver ? Effect.void : Effect.interrupt)
        return true
      }
      if (!look()) this.waiting.add(look)
      return Effect.sync(() => this.waiting.delete(look))
    })
  }

  /** Nothing comes any more: nobody waits for it. */
  end(): void {
    this.isEnded = true
    for (const look of this.waiting) look()
  }

  /** Runs the instance from now on; `onCrash` is told what it throws. The returned function stops it. */
  run(onCrash: (defect: unknown) => void): () => void {
    this.onCrash = onCrash
    if (this.hasThrown) {
      this.hasThrown = false
      this.guarded((instance) => instance.recover())
    }
    this.wake(0)
    return () => {
      if (this.onCrash !== onCrash) return // the next one runs it already
      this.onCrash = null
      this.disarm()
    }
  }

  /**
   * Has the instance look at the time, where it has not for `ms`: the whole process may have been stopped, and what came
   * in meanwhile is read before any timer runs.
   */
  lookAfter(ms: number): void {
    if (this.instance !== null && this.monotonicMs() - this.instance.nowMs > ms) this.tick()
  }

  // What the instance asks for

  send(to: number, frame: Uint8Array): void {
    this.transport?.send(to, frame)
  }

  broadcast(frame: Uint8Array): void {
    this.transport?.broadcast(frame)
  }

  reconsider(): void {
    this.transport?.reconsider()
  }

  wake(atMs: number): void {
    if (this.onCrash === null) return
    const delayMs = atMs - this.monotonicMs()
    if (delayMs <= 0) {
      if (this.isTickQueued) return
      this.isTickQueued = true
      queueMicrotask(this.tick)
    } else if (delayMs < 1) {
      this.soonAtMs = Math.min(this.soonAtMs, atMs)
      if (this.isSoonQueued) return
      this.isSoonQueued = true
      setImmediate(this.lookWhetherSoon)
    } else if (atMs < this.timerAtMs) {
      this.disarm()
      this.timerAtMs = atMs
      this.timer = setTimeout(this.tick, Math.min(delayMs, timerMsMax))
    }
  }

  // What the transport tells

  onFrame(frame: Uint8Array, from: number): void {
    if (this.onCrash === null) this.stats.dropped++
    else this.guarded((instance) => instance.onFrame(frame, from))
  }

  onLinkUp(peer: PeerInfo): void {
    this.guarded((instance) => instance.onLinkUp(peer))
  }

  onLinkDown(origin: number): void {
    this.guarded((instance) => instance.onLinkDown(origin))
  }

  onGone(origin: number): void {
    this.guarded((instance) => instance.onGone(origin))
  }

  onSettled(): void {
    this.guarded((instance) => instance.settled())
  }

  onCarrier(isUp: boolean, what: string): void {
    this.carrier = { isUp, what }
    this.guarded((instance) => instance.onCarrier(isUp))
  }

  wantsLink(peer: PeerInfo): boolean {
    return this.instance?.wantsLink(peer) ?? true
  }

  private readonly tick = (): void => {
    this.isTickQueued = false
    if (this.onCrash === null) return
    this.disarm()
    this.guarded((instance) => {
      this.propagation.look(instance, this.monotonicMs())
      const nextMs = instance.tick()
      if (nextMs !== Number.POSITIVE_INFINITY) this.wake(nextMs)
    })
  }

  private readonly lookWhetherSoon = (): void => {
    this.isSoonQueued = false
    if (this.onCrash === null) return
    if (this.monotonicMs() >= this.soonAtMs) {
      this.soonAtMs = Number.POSITIVE_INFINITY
      this.tick()
    } else {
      this.isSoonQueued = true
      setImmediate(this.lookWhetherSoon)
    }
  }

  /** Milliseconds, all together, in which the instance was not coherent. */
  degradedMs(): number {
    return this.degradedTotalMs + (this.degradedFromMs === null ? 0 : this.monotonicMs() - this.degradedFromMs)
  }

  private count(isCoherent: boolean): void {
    if (isCoherent === (this.degradedFromMs === null)) return
    if (isCoherent) {
      this.degradedTotalMs = this.degradedMs()
      this.degradedFromMs = null
    } else this.degradedFromMs = this.monotonicMs()
  }

  private disarm(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = null
    this.timerAtMs = Number.POSITIVE_INFINITY
  }

  private guarded(work: (instance: Instance) => void): void {
    if (this.instance === null) return
    try {
      work(this.instance)
      for (const look of this.waiting) look()
      this.count(this.instance.isCoherent)
    } catch (defect) {
      this.stats.crashes++
      this.hasThrown = true
      this.onCrash?.(defect)
    }
  }
}

const timerMsMax = 2 ** 31 - 1 // what a Node timer can count
