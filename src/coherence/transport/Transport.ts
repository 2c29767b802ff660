/**
 * How instances of one namespace reach each other: links to peers, and frames that are carried whole.
 *
 * A transport promises little, since the protocol above it counts what arrives and pulls what is missing: it may lose,
 * repeat and reorder frames. What it does promise is this.
 * - A frame arrives as it was sent or not at all, and only within its namespace. With a secret, only from who holds it.
 * - `onLinkUp` comes before the first frame from that peer, `onLinkDown` after the last; one link a peer.
 * - Nothing is said to the listener from within `send`, `broadcast` or `reconsider`, so nobody has to be re-entrant.
 * - Nothing waits and nothing is unbounded. What does not fit is dropped and counted, and reconciliation heals it.
 *
 * Opening a transport makes its state, which outlives a crash of the processes that move the frames. Those are its
 * `children`: nothing leaves or comes in before they have been started, by the supervisor that they are given to.
 */
import { Context, type Effect, type Scope } from "effect"
import type { Process, Supervisor } from "../../actor/index.ts"
import type { MetricReader } from "../../telemetry/index.ts"
import type { TransportError } from "./TransportError.ts"

export { TransportError } from "./TransportError.ts"

/** Somebody else of the same namespace. */
export interface PeerInfo {
  /** Random for each start of a process: a restarted peer is another one. Below 2^53, never 0. */
  readonly origin: number
  /** 0 to 65,535. */
  readonly region: number
  /** Where it can be reached, for people and for gossip: `host:port`, or what the transport calls it. */
  readonly address: string
}

/** What the instance above is told. What it throws is the crash of the process that serves the link, or the links. */
export interface TransportListener {
  /** The bytes are not used again by the transport; others may be given the same ones, so they are not to be changed. */
  onFrame(frame: Uint8Array, from: number): void
  onLinkUp(peer: PeerInfo): void
  /** The peer cannot be reached at the moment. It may live. */
  onLinkDown(origin: number): void
  /** The process of a peer that was linked has ended: nobody listens where it did. Not every transport can know this. */
  onGone(origin: number): void
  /** The first round of discovery is over: who has not been linked by now is not there, or is slow. Once. */
  onSettled(): void
  /**
   * The broker that carries all messages is there, or is away: nobody can be heard of then, who was known or is new.
   * Told at the first connection, or when that did not come about, and at each change. `what` names it, without
   * credentials: `nats://127.0.0.1:4222`. A mesh has none.
   */
  onCarrier?(isUp: boolean, what: string): void
  /** Whether a link to this peer is of use. Asked for again after `reconsider`. */
  wantsLink(peer: PeerInfo): boolean
}

export interface TransportSelf {
  readonly origin: number
  readonly region: number
  /** Compared exactly. The mesh sends a hash of it alone; with a broker its channels are named after it. */
  readonly namespace: string
  /** What all members of the namespace know and nobody else does. */
  readonly secret: string | undefined
}

export interface Transport {
  /** `memory`, `mesh`, `nats`, `redis`. */
  readonly name: string
  /** Frames up to this many bytes are carried; longer ones are refused and counted. */
  readonly frameBytesMax: number
  /** To one peer. False when there is no link to it or the frame is too long; true promises nothing. */
  send(to: number, frame: Uint8Array): boolean
  /** To every peer that is linked. The frame belongs to the transport from here on and is not to be changed. */
  broadcast(frame: Uint8Array): void
  links(): readonly PeerInfo[]
  /** The listener wants other links than before: asks `wantsLink` again, in a later turn, for all that are known. */
  reconsider(): void
  /** Its processes, to be started in this order by a `rest_for_one` supervisor, beside or above those that use it. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
  readonly metrics: readonly MetricReader[]
  /** Where others reach this instance, once that is known: `host:port`, or what the transport calls it. */
  address(): string | undefined
}

/** A way to open a transport, chosen by a layer: `Memory.layer`, `Mesh.layer`, `Nats.layer`, `Redis.layer`. */
export class CoherenceTransport extends Context.Tag("mimosa-cache/coherence/transport/CoherenceTransport")<
  CoherenceTransport,
  {
    /** Closing the scope closes the links, after what has been sent has gone out; `children` should have ended before. */
    readonly open: (
      self: TransportSelf,
      listener: TransportListener
    ) => Effect.Effect<Transport, TransportError, Scope.Scope>
  }
>() {}

/** Bytes of the longest frame: a value of 16 MiB, and what else is in its frame. */
export const frameBytesMaxDefault = 17 * 2 ** 20
