/**
 * The envelope in which members of a namespace put what they send over ground that others may walk on: a broker, a wire.
 *
 * 24 bytes of head, the body, and 16 bytes of HMAC-SHA256 where a secret is set:
 * ```
 * 0 version u8 · 1 kind u8 (0x80: signed) · 2 author 8 bytes · 10 to 8 bytes (0: everybody) · 18 counter 6 bytes · 24 body
 * ```
 * The key is derived from secret and namespace, so that a signature of one namespace is none in another. Counters go up by
 * one a message, from a number taken of the clock, so that an author that is opened again goes on above. Whoever has a
 * `ReplayWindow` for an author takes each of its messages once, in any order within the window. That a message is not
 * from an earlier day is not said by a counter: who meets an author for the first time has to see it answer a number of
 * its own (Bus), and begins the window there.
 *
 * Under 10 µs a message with a secret on a busy machine, under 1 µs without. Truncation to 128 bits is what RFC 2104 [1] calls safe.
 *
 * [1] RFC 2104, section 5; the window is that of RFC 6479.
 */
import { createHmac, timingSafeEqual } from "node:crypto"

/** What a message was before it was sealed. `body` is a view of the bytes that were opened. */
export interface Opened {
  /** 0 to 127, of the transport's own meaning. */
  readonly kind: number
  readonly author: number
  /** 0: everybody. */
  readonly to: number
  readonly counter: number
  readonly body: Uint8Array
}

/** Why bytes are not taken. `unsigned`: we have a secret and the author has none; `signed`: the other way around. */
export type Refusal = "garbage" | "version" | "unsigned" | "signed" | "forged"

export interface FrameSealOptions {
  readonly namespace: string
  readonly secret: string | undefined
  /** The author of what is sealed: an integer from 1 to 2^53 - 1. */
  readonly origin: number
}

/**
 * Seals what one author sends, and opens what it gets from others of its namespace.
 *
 * @example
 * const a = new FrameSeal({ namespace: "shop", secret, origin: 7 })
 * const b = new FrameSeal({ namespace: "shop", secret, origin: 8 })
 * b.open(a.seal(1, 0, body)) // { kind: 1, author: 7, to: 0, counter: 1, body }
 */
export class FrameSeal {
  /** Bytes that sealing adds. */
  readonly overheadBytes: number
  private readonly origin: number
  private readonly key: Buffer | undefined
  private counter = Date.now() * countersEachMs

  constructor({ namespace, origin, secret }: FrameSealOptions) {
    this.origin = origin
    this.key =
      secret === undefined ? undefined : createHmac("sha256", secret).update(`${keyPurpose}\0${namespace}`).digest()
    this.overheadBytes = headBytes + (this.key === undefined ? 0 : macBytes)
  }

  /** `parts` follow each other in the body. */
  seal(kind: number, to: number, ...parts: ReadonlyArray<Uint8Array>): Uint8Array {
    let length = this.overheadBytes
    for (const part of parts) length += part.length
    const sealed = Buffer.allocUnsafe(length)
    sealed[0] = version
    sealed[1] = this.key === undefined ? kind : kind | signedFlag
    writeInteger(sealed, this.origin, 2)
    writeInteger(sealed, to, 10)
    sealed.writeUIntBE(++this.counter, 18, 6)
    let at = headBytes
    for (const part of parts) {
      sealed.set(part, at)
      at += part.length
    }
    if (this.key !== undefined) sealed.set(this.macOf(sealed.subarray(0, at)), at)
    return sealed
  }

  open(bytes: Uint8Array): Opened | Refusal {
    if (bytes.length < headBytes) return "garbage"
    if (bytes[0] !== version) return "version"
    const isSigned = ((bytes[1] as number) & signedFlag) !== 0
    if (this.key === undefined && isSigned) return "signed"
    if (this.key !== undefined && !isSigned) return "unsigned"
    const end = bytes.length - (isSigned ? macBytes : 0)
    if (end < headBytes) return "garbage"
    if (isSigned && !timingSafeEqual(this.macOf(bytes.subarray(0, end)), bytes.subarray(end))) return "forged"
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    const author = readInteger(view, 2)
    const to = readInteger(view, 10)
    if (author === 0 || author > Number.MAX_SAFE_INTEGER || to > Number.MAX_SAFE_INTEGER) return "garbage"
    return {
      kind: (bytes[1] as number) & ~signedFlag,
      author,
      to,
      counter: view.readUIntBE(18, 6),
      body: bytes.subarray(headBytes, end)
    }
  }

  private macOf(bytes: Uint8Array): Buffer {
    return createHmac("sha256", this.key as Buffer)
      .update(bytes)
      .digest()
      .subarray(0, macBytes)
  }
}

/**
 * Which counters of one author have been taken: all up to a floor count as taken, and of the last 1,024 each is known.
 *
 * What is older than the window is refused: better lost, which the protocol above heals, than taken twice.
 */
export class ReplayWindow {
  private highest: number
  private readonly taken = new Uint8Array(windowSize)
  /** All counters up to here are refused, whatever the window says. */
  private readonly floor: number

  constructor(floor: number) {
    this.highest = floor
    this.floor = floor
  }

  /** Takes a counter. False when it has been taken, or is too old to tell. */
  take(counter: number): boolean {
    if (counter <= this.floor || counter <= this.highest - windowSize) return false
    if (counter > this.highest) {
      // The slots of the counters that are skipped hold what was true one window ago.
      const cleared = Math.min(counter - this.highest, windowSize)
      for (let skipped = 1; skipped <= cleared; skipped++) this.taken[(this.highest + skipped) % windowSize] = 0
      this.highest = counter
    } else if (this.taken[counter % windowSize] === 1) {
      return false
    }
    this.taken[counter % windowSize] = 1
    return true
  }
}

const version = 1
const headBytes = 24
const macBytes = 16
const signedFlag = 0x80
const keyPurpose = "mimosa-cache coherence envelope 1"
const countersEachMs = 64 // messages; 48 bits of them last until 2109
const windowSize = 1_024 // messages of one author that may overtake each other

const writeInteger = (bytes: Buffer, value: number, at: number): void => {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at)
  bytes.writeUInt32BE(value % 2 ** 32, at + 4)
}

const readInteger = (bytes: Buffer, at: number): number => bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)
