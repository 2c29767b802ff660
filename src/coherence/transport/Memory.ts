/**
 * Links between instances of one process, over a network that they share: for tests, and for programs that hold several
 * caches of one namespace.
 *
 * Frames are handed over in a later turn of the event loop and never lost, but for a receiver that is behind by more
 * than its inbox holds. Who has another secret is in another network, as far as anybody can tell.
 */
import { Context, Effect, Layer, type Scope } from "effect"
import { ExitReason, GenServer, Process } from "../../actor/index.ts"
import { TransportCounts } from "./internal/counts.ts"
import {
  CoherenceTransport,
  frameBytesMaxDefault,
  type PeerInfo,
  type Transport,
  type TransportListener,
  type TransportSelf
} from "./Transport.ts"

/** Who is there, by namespace and secret. Made once and given to all that are to meet. */
export class MemoryNetwork extends Context.Tag("mimosa-cache/coherence/transport/MemoryNetwork")<
  MemoryNetwork,
  {
    /** @internal */
    readonly rooms: Map<string, Set<MemoryTransport>>
  }
>() {}

export const layerNetwork: Layer.Layer<MemoryNetwork> = Layer.sync(MemoryNetwork, () => ({ rooms: new Map() }))

/**
 * @example
 * const network = yield* Layer.build(Memory.layerNetwork)
 * const transport = Layer.provide(Memory.layer, Layer.succeedContext(network))
 */
export const layer: Layer.Layer<CoherenceTransport, never, MemoryNetwork> = Layer.effect(
  CoherenceTransport,
  Effect.map(MemoryNetwork, ({ rooms }) => ({
    open: (self, listener): Effect.Effect<Transport, never, Scope.Scope> =>
      Effect.acquireRelease(
        Effect.sync(() => new MemoryTransport(rooms, self, listener)),
        (transport) => Effect.sync(() => transport.close())
      )
  }))
)

type News =
  | { readonly _tag: "Frame"; readonly frame: Uint8Array; readonly from: MemoryTransport }
  | { readonly _tag: "Up"; readonly peer: PeerInfo }
  | { readonly _tag: "Down"; readonly origin: number }
  | { readonly _tag: "Gone"; readonly origin: number }
  | { readonly _tag: "Settled" }

class MemoryTransport implements Transport {
  readonly name = "memory"
  readonly frameBytesMax = frameBytesMaxDefault
  readonly children = [GenServer.childSpec(Attached, this)]
  readonly peer: PeerInfo
  readonly counts = new TransportCounts(() => this.#linked.size)
  readonly metrics = this.counts.metrics
  readonly #listener: TransportListener
  readonly #rooms: Map<string, Set<MemoryTransport>>
  readonly #room: string
  readonly #linked = new Map<number, MemoryTransport>()
  /** All that it was ever linked with and that are still there: they are told when it closes. */
  readonly #met = new Set<MemoryTransport>()
  #inbox: Array<News> = []
  #inboxBytes = 0
  #onCrash: ((defect: unknown) => void) | null = null

  constructor(rooms: Map<string, Set<MemoryTransport>>, self: TransportSelf, listener: TransportListener) {
    this.#rooms = rooms
    this.#room = JSON.stringify([self.namespace, self.secret ?? null])
    this.peer = { origin: self.origin, region: self.region, address: `memory:${self.origin}` }
    this.#listener = listener
  }

  attach(onCrash: (defect: unknown) => void): void {
    this.#onCrash = onCrash
    const room = this.#rooms.get(this.#room) ?? new Set()
    this.#rooms.set(this.#room, room)
    room.add(this)
    if (this.#inbox.length > 0) setImmediate(() => this.#deliver()) // what a crash has left
    this.#meet()
    this.#tell({ _tag: "Settled" })
  }

  /** What its listener has not been told is told when it attaches again, but for frames. */
  detach(): void {
    const room = this.#rooms.get(this.#room)
    room?.delete(this)
    if (room?.size === 0) this.#rooms.delete(this.#room)
    for (const other of [...this.#linked.values()]) this.#part(other)
    this.#onCrash = null
    this.#inbox = this.#inbox.filter(({ _tag }) => _tag !== "Frame")
    this.#inboxBytes = 0
  }

  close(): void {
    this.detach()
    this.#inbox = []
    for (const other of this.#met) {
      other.#met.delete(this)
      other.#tell({ _tag: "Gone", origin: this.peer.origin })
    }
    this.#met.clear()
  }

  send(to: number, frame: Uint8Array): boolean {
    const other = this.#linked.get(to)
    if (other === undefined || frame.length > this.frameBytesMax) {
      this.counts.lost(other === undefined ? "no link" : "too long")
      return false
    }
    this.#carry(other, frame)
    return true
  }

  broadcast(frame: Uint8Array): void {
    if (frame.length > this.frameBytesMax) this.counts.lost("too long")
    else for (const other of this.#linked.values()) this.#carry(other, frame)
  }

  links(): ReadonlyArray<PeerInfo> {
    return Array.from(this.#linked.values(), (other) => other.peer)
  }

  reconsider(): void {
    setImmediate(() => this.#onCrash !== null && this.#meet())
  }

  address(): string {
    return this.peer.address
  }

  /** A link is there while both want it. */
  #meet(): void {
    for (const other of this.#rooms.get(this.#room) ?? []) {
      if (other === this) continue
      const isWanted = this.#listener.wantsLink(other.peer) && other.#listener.wantsLink(this.peer)
      if (isWanted === this.#linked.has(other.peer.origin)) continue
      if (!isWanted) {
        this.#part(other)
        continue
      }
      this.#join(other)
      other.#join(this)
    }
  }

  #join(other: MemoryTransport): void {
    this.#linked.set(other.peer.origin, other)
    this.#met.add(other)
    this.#tell({ _tag: "Up", peer: other.peer })
  }

  #part(other: MemoryTransport): void {
    this.#linked.delete(other.peer.origin)
    other.#linked.delete(this.peer.origin)
    this.#tell({ _tag: "Down", origin: other.peer.origin })
    other.#tell({ _tag: "Down", origin: this.peer.origin })
  }

  #carry(other: MemoryTransport, frame: Uint8Array): void {
    if (other.#inboxBytes + frame.length > inboxBytesMax || other.#inbox.length >= inboxFramesMax) {
      this.counts.lost("full")
      return
    }
    this.counts.sent(frame.length)
    other.#inboxBytes += frame.length
    other.#tell({ _tag: "Frame", frame, from: this })
  }

  #tell(news: News): void {
    if (this.#onCrash !== null && this.#inbox.push(news) === 1) setImmediate(() => this.#deliver())
  }

  #deliver(): void {
    if (this.#onCrash === null) return
    const inbox = this.#inbox
    this.#inbox = []
    this.#inboxBytes = 0
    let handed = 0
    try {
      while (handed < inbox.length) this.#hand(inbox[handed++] as News)
    } catch (defect) {
      this.#inbox = [...inbox.slice(handed), ...this.#inbox]
      this.#onCrash(defect)
    }
  }

  #hand(news: News): void {
    const listener = this.#listener
    if (news._tag === "Frame") {
      this.counts.received(news.frame.length)
      listener.onFrame(news.frame, news.from.peer.origin)
    } else if (news._tag === "Up") listener.onLinkUp(news.peer)
    else if (news._tag === "Down") listener.onLinkDown(news.origin)
    else if (news._tag === "Gone") listener.onGone(news.origin)
    else listener.onSettled()
  }
}

/** The process that is in the network while it lives. A listener that throws is its crash. */
const Attached = GenServer.define<{ readonly info: { readonly _tag: "Crash"; readonly defect: unknown } }>()({
  name: "memory transport",
  init: (transport: MemoryTransport) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      yield* Effect.acquireRelease(
        Effect.sync(() => transport.attach((defect) => Process.unsafeOffer(self, { _tag: "Crash", defect }))),
        () => Effect.sync(() => transport.detach())
      )
      return GenServer.Ok(transport)
    }),
  handleInfo: (message, transport) =>
    message._tag === "Crash"
      ? GenServer.Stop(ExitReason.crashWith(message.defect), transport)
      : GenServer.NoReply(transport),
  inspect: (transport) => ({ links: transport.links().length })
})

const inboxFramesMax = 65_536 // frames that one instance may be behind
const inboxBytesMax = 64 * 2 ** 20 // bytes of them; four of the longest
