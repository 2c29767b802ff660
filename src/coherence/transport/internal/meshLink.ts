/**
 * One link of the mesh: a connection whose ends have proved themselves.
 *
 * What is sent in a turn goes out together, sealed once, in one write. What the peer does not take is held up to a
 * bound; at the bound the link is cut, which the peer and the protocol above notice and heal. An idle link says so
 * (`ping`), and one that has been silent for too long is cut: its peer's host may be gone without a word.
 */
import type { Socket } from "node:net"
import type { PeerInfo } from "../Transport.ts"
import type { TransportCounts } from "./counts.ts"
import type { Shaken } from "./meshHandshake.ts"
import {
  decodeMembers,
  encodeMembers,
  encodeRecord,
  RecordReader,
  recordHead,
  recordKind,
  type Seal,
  sealedBytesMax
} from "./meshWire.ts"

/** Why a link ended, for counters. */
export type LinkEnd =
  | "closed" // in order, by either end
  | "unwanted" // by the wish of either end
  | "duplicate" // another link to the same peer was kept
  | "lost" // the connection broke: the peer's process has ended, or the network
  | "silent" // nothing came for too long
  | "overflow" // the peer did not take what was sent
  | "oversized"
  | "garbage"
  | "forged"
  | "crash" // what the listener threw, or the link's process ended

const byeReasons = ["closed", "unwanted", "duplicate"] as const
export type ByeReason = (typeof byeReasons)[number]

export interface LinkListener {
  onFrame(link: MeshLink, frame: Buffer): void
  onMembers(link: MeshLink, members: ReadonlyArray<PeerInfo>): void
  /** Once. `defect` is what the listener above threw. */
  onEnd(link: MeshLink, end: LinkEnd): void
}

export interface LinkLimits {
  readonly frameBytesMax: number
  readonly queueBytesMax: number
  readonly livenessMs: number
}

export class MeshLink {
  readonly peer: PeerInfo
  readonly isDialed: boolean
  readonly dial: number
  readonly remoteHost: string
  readonly #socket: Socket
  readonly #listener: LinkListener
  readonly #limits: LinkLimits
  readonly #counts: TransportCounts
  readonly #seal: Seal | null
  readonly #reader: RecordReader
  readonly #observers: Array<(defect: { readonly defect: unknown } | null) => void> = []
  readonly #rest: Buffer
  #queue: Uint8Array[] = []
  #queueBytes = 0
  #isFlushDue = false
  #isEnding = false
  #end: LinkEnd | null = null
  #defect: { readonly defect: unknown } | null = null
  #byeReason: ByeReason | null = null
  /** As of the last `keepAlive`, and the times of what came and went. */
  #nowMs: number
  #heardAtMs: number
  #wroteAtMs: number

  constructor(options: {
    readonly socket: Socket
    readonly peer: PeerInfo
    readonly shaken: Shaken
    readonly remoteHost: string
    readonly isSecured: boolean
    readonly limits: LinkLimits
    readonly counts: TransportCounts
    readonly listener: LinkListener
    readonly nowMs: number
  }) {
    const { agreement, role, dial, rest } = options.shaken
    this.peer = options.peer
    this.isDialed = role === "dialer"
    this.dial = dial
    this.remoteHost = options.remoteHost
    this.#socket = options.socket
    this.#listener = options.listener
    this.#limits = options.limits
    this.#counts = options.counts
    this.#seal = options.isSecured ? agreement.seal(role) : null
    this.#reader = new RecordReader({
      seal: options.isSecured ? agreement.seal(role === "dialer" ? "acceptor" : "dialer") : null,
      frameBytesMax: options.limits.frameBytesMax,
      onRecord: (kind, payload) => this.#onRecord(kind, payload)
    })
    this.#rest = rest
    this.#nowMs = this.#heardAtMs = this.#wroteAtMs = options.nowMs
  }

  /** Who began the connection. */
  dialer(selfOrigin: number): number {
    return this.isDialed ? selfOrigin : this.peer.origin
  }

  /** Reads from here on. What had come with the handshake is read first. */
  start(): void {
    const socket = this.#socket
    socket.on("data", (piece: Buffer) => this.#onData(piece))
    socket.on("end", () => this.#finish("lost"))
    socket.on("error", () => this.#finish("lost"))
    socket.on("close", () => this.#finish("lost"))
    if (this.#rest.length > 0) this.#onData(this.#rest)
    if (this.#end === null) socket.resume()
  }

  get isOpen(): boolean {
    return this.#end === null && !this.#isEnding
  }

  get end(): LinkEnd | null {
    return this.#end
  }

  get waitingBytes(): number {
    return this.#queueBytes + this.#socket.writableLength + this.#reader.heldBytes
  }

  /** A frame as a record that any link can send; long ones are not copied. */
  static frame(frame: Uint8Array): ReadonlyArray<Uint8Array> {
    return frame.length > copiedBytesMax
      ? [recordHead(recordKind.frame, frame.length), frame]
      : [encodeRecord(recordKind.frame, frame)]
  }

  sendFrame(record: ReadonlyArray<Uint8Array>, frameBytes: number): void {
    if (!this.isOpen) {
      this.#counts.lost("no link")
      return
    }
    if (this.#queueBytes + this.#socket.writableLength + frameBytes > this.#limits.queueBytesMax) {
      this.#counts.lost("full")
      this.#cutLater("overflow")
      return
    }
    this.#counts.sent(frameBytes)
    for (const part of record) this.#enqueue(part)
  }

  sendMembers(members: ReadonlyArray<PeerInfo>): void {
    if (this.isOpen && members.length > 0) this.#enqueue(encodeMembers(members))
  }

  /** Says that it is there when it has been quiet, and cuts a peer that has been silent for too long. */
  keepAlive(nowMs: number): void {
    const { livenessMs } = this.#limits
    // This process has been stopped or busy: what the peer has sent meanwhile has not been read.
    if (nowMs - this.#nowMs > livenessMs / 2) this.#heardAtMs = nowMs
    this.#nowMs = nowMs
    if (!this.isOpen) return
    if (nowMs - this.#heardAtMs >= livenessMs) this.#finish("silent")
    else if (nowMs - this.#wroteAtMs >= livenessMs / 3) this.#enqueue(ping)
  }

  /** Sends what waits and says goodbye; the peer closes, or is cut after a while. */
  bye(reason: ByeReason): void {
    if (!this.isOpen) return
    this.#enqueue(encodeRecord(recordKind.bye, Buffer.of(byeReasons.indexOf(reason))))
    this.#flush()
    this.#isEnding = true
    this.#byeReason = reason
    this.#socket.end()
    setTimeout(() => {
      this.#socket.destroy()
      this.#finish(reason)
    }, byeMs).unref()
  }

  /** At once, without a word. */
  cut(end: LinkEnd): void {
    this.#finish(end)
  }

  /** What the listener above threw ends it, and its process with that. */
  crash(defect: unknown): void {
    this.#defect = { defect }
    this.#finish("crash")
  }

  /** When it has ended (at once if it has), with what was thrown while it was served. */
  whenGone(observer: (defect: { readonly defect: unknown } | null) => void): void {
    if (this.#end !== null) observer(this.#defect)
    else this.#observers.push(observer)
  }

  #enqueue(part: Uint8Array): void {
    this.#queue.push(part)
    this.#queueBytes += part.length
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    queueMicrotask(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushDue = false
    if (!this.isOpen || this.#queue.length === 0) return
    const queue = this.#queue
    const bytes = this.#queueBytes
    this.#queue = []
    this.#queueBytes = 0
    this.#wroteAtMs = this.#nowMs
    const parts = this.#seal === null ? queue : sealed(queue, this.#seal)
    const socket = this.#socket
    if (parts.length === 1) socket.write(parts[0] as Uint8Array)
    else if (bytes <= copiedBytesMax) socket.write(Buffer.concat(parts))
    else {
      socket.cork()
      for (const part of parts) socket.write(part)
      socket.uncork()
    }
  }

  #onData(piece: Buffer): void {
    if (this.#end !== null) return
    this.#heardAtMs = this.#nowMs
    let refusal: ReturnType<RecordReader["push"]>
    try {
      refusal = this.#reader.push(piece)
    } catch (defect) {
      this.crash(defect)
      return
    }
    if (refusal === null) return
    this.#counts.refused(refusal)
    this.#finish(refusal)
  }

  #onRecord(kind: number, payload: Buffer): void {
    if (this.#end !== null) return
    if (kind === recordKind.frame) {
      this.#counts.received(payload.length)
      this.#listener.onFrame(this, payload)
    } else if (kind === recordKind.addresses) this.#listener.onMembers(this, decodeMembers(payload))
    else if (kind === recordKind.bye) this.#finish(byeReasons[payload[0] ?? 0] ?? "closed")
  }

  /** Not within the call that found it: the listener above is in the middle of sending. */
  #cutLater(end: LinkEnd): void {
    this.#isEnding = true
    setImmediate(() => this.#finish(end))
  }

  #finish(end: LinkEnd): void {
    if (this.#end !== null) return
    this.#end = this.#byeReason ?? end
    this.#queue = []
    this.#queueBytes = 0
    if (this.#end === "closed" || this.#end === "unwanted" || this.#end === "duplicate") this.#socket.destroySoon()
    else this.#socket.destroy()
    this.#listener.onEnd(this, this.#end)
    for (const observer of this.#observers.splice(0)) observer(this.#defect)
  }
}

/** Closes each 64 KiB, or what there is, with a seal. */
const sealed = (queue: ReadonlyArray<Uint8Array>, seal: Seal): Uint8Array[] => {
  const parts: Uint8Array[] = []
  let from = 0
  let bytes = 0
  for (const part of queue) {
    parts.push(part)
    bytes += part.length
    // A head and its frame belong together: a seal stands between records only.
    if (bytes < sealedBytesMax || part.length === headOnly) continue
    parts.push(encodeRecord(recordKind.seal, seal.next(parts.slice(from))))
    from = parts.length
    bytes = 0
  }
  if (bytes > 0) parts.push(encodeRecord(recordKind.seal, seal.next(parts.slice(from))))
  return parts
}

const copiedBytesMax = 64 * 1024 // up to here a copy is cheaper than another write
const headOnly = 5 // bytes of a part that is a head: a whole record of that length is a ping, which may wait for its seal
const byeMs = 500 // for the peer to take what was sent last
const ping = encodeRecord(recordKind.ping, Buffer.alloc(0))
