/**
 * The bytes on a link of the mesh, as pure functions: how two ends prove to each other what they know, and how records
 * are cut out of the stream and sealed.
 *
 * Handshake. Dialer: HELLO. Acceptor: HELLO. Dialer: PROOF. Acceptor: PROOF. A proof is an HMAC-SHA256 [1] of both
 * HELLOs, so of both nonces, under the secret and the role of who gives it: it cannot be replayed, nor reflected. The
 * dialer proves first, so that nobody gets a proof out of a member by merely connecting. Whoever cannot go on says why
 * in a REFUSAL, and closes.
 *
 * Records. Length (u32, of what follows), kind (u8), payload. With a secret, what has been written in one turn is closed
 * by a *seal*: an HMAC of these bytes and of their number in this direction, cut to 16 bytes, under a key of this
 * direction of this connection. The receiver acts on nothing that is not sealed; a byte that was changed, left out,
 * repeated or brought from another connection breaks the seal. One seal for a turn and not one for a frame: an HMAC
 * costs more than the write of a small frame (docs/decisions.md).
 *
 * All numbers are big-endian. Kinds and bytes at the end of a HELLO that are not known are skipped, for members to be
 * upgraded one by one.
 *
 * [1] RFC 2104, RFC 6234. The secret should be long and random: who takes part in a handshake can try guesses.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import type { PeerInfo } from "../Transport.ts"

export const meshVersion = 1
const meshVersionMin = 1

/** Why an end does not go on. The number is the byte in a REFUSAL; the words are for counters and logs. */
export const refusals = {
  version: 1,
  namespace: 2,
  secret: 3,
  self: 4,
  crowded: 5,
  garbage: 6
} as const
export type Refusal = keyof typeof refusals

export interface Hello {
  readonly origin: number
  readonly region: number
  /** Of the namespace: `namespaceIdOf`, 8 bytes. */
  readonly namespaceId: Buffer
  readonly isSecured: boolean
  /** Only asks who is there; no link is wanted. */
  readonly isProbe: boolean
  /** Counts the connections that this origin has begun: of two, the newer has the higher number. */
  readonly dial: number
  /** 16 bytes, random. */
  readonly nonce: Buffer
  /** Where it listens, `host:port`; the host is empty when only others can tell. */
  readonly address: string
}

export const namespaceIdOf = (namespace: string): Buffer =>
  createHash("sha256").update("mimosa mesh namespace\0").update(namespace).digest().subarray(0, 8)

export const messageKind = { hello: 1, proof: 2, refusal: 3 } as const

const magic = 0x4d_69_6d_6f // "Mimo"
const headBytes = 8 // magic 4, format 1, kind 1, length of the body 2
const format = 1 // of the head; does not change
const bodyBytesMax = 512
const helloBytesMin = 47
const addressBytesMax = 255

const message = (kind: number, body: Buffer): Buffer => {
  const bytes = Buffer.allocUnsafe(headBytes + body.length)
  bytes.writeUInt32BE(magic, 0)
  bytes[4] = format
  bytes[5] = kind
  bytes.writeUInt16BE(body.length, 6)
  body.copy(bytes, headBytes)
  return bytes
}

export const encodeHello = (hello: Hello): Buffer => {
  const address = Buffer.from(hello.address, "latin1").subarray(0, addressBytesMax)
  const body = Buffer.allocUnsafe(helloBytesMin + address.length)
  body[0] = meshVersion
  body[1] = meshVersionMin
  body[2] = (hello.isSecured ? 1 : 0) | (hello.isProbe ? 2 : 0)
  body.writeUInt16BE(hello.region, 3)
  body.writeDoubleBE(hello.origin, 5)
  hello.namespaceId.copy(body, 13)
  hello.nonce.copy(body, 21)
  body.writeDoubleBE(hello.dial, 37)
  body[45] = address.length
  body[46] = 0 // reserved
  address.copy(body, helloBytesMin)
  return message(messageKind.hello, body)
}

/** The HELLO in a body, or why the two versions cannot talk. */
export const decodeHello = (body: Buffer): Hello | Refusal => {
  if (body.length < 2) return "garbage"
  if ((body[0] as number) < meshVersionMin || (body[1] as number) > meshVersion) return "version"
  if (body.length < helloBytesMin) return "garbage"
  const origin = body.readDoubleBE(5)
  const dial = body.readDoubleBE(37)
  const addressEnd = helloBytesMin + (body[45] as number)
  if (!isOrigin(origin) || !Number.isSafeInteger(dial) || addressEnd > body.length) return "garbage"
  return {
    origin,
    dial,
    region: body.readUInt16BE(3),
    namespaceId: body.subarray(13, 21),
    isSecured: ((body[2] as number) & 1) !== 0,
    isProbe: ((body[2] as number) & 2) !== 0,
    nonce: body.subarray(21, 37),
    address: body.toString("latin1", helloBytesMin, addressEnd)
  }
}

export const isOrigin = (value: number): boolean => Number.isSafeInteger(value) && value > 0

export const encodeRefusal = (refusal: Refusal): Buffer => message(messageKind.refusal, Buffer.of(refusals[refusal]))

export const decodeRefusal = (body: Buffer): Refusal =>
  (Object.keys(refusals) as Refusal[]).find((refusal) => refusals[refusal] === body[0]) ?? "garbage"

export const encodeProof = (proof: Buffer): Buffer => message(messageKind.proof, proof)

/** The first message in what has come: how many bytes it has and what it is; null while it is not whole. */
export const readMessage = (
  bytes: Buffer
): { readonly kind: number; readonly body: Buffer; readonly length: number } | null | "garbage" => {
  for (let at = 0; at < Math.min(4, bytes.length); at++) {
    if (bytes[at] !== ((magic >>> (24 - 8 * at)) & 0xff)) return "garbage"
  }
  if (bytes.length < headBytes) return null
  const bodyBytes = bytes.readUInt16BE(6)
  if (bytes[4] !== format || bodyBytes > bodyBytesMax) return "garbage"
  const length = headBytes + bodyBytes
  return bytes.length < length ? null : { kind: bytes[5] as number, body: bytes.subarray(headBytes, length), length }
}

/** What both ends derive from the secret and the two HELLOs, as they were sent. Without a secret it proves nothing. */
export class Agreement {
  readonly #secret: string
  readonly #transcript: Buffer

  constructor(secret: string | undefined, dialerHello: Buffer, acceptorHello: Buffer) {
    this.#secret = secret ?? ""
    this.#transcript = Buffer.concat([dialerHello, acceptorHello])
  }

  proof(role: Role): Buffer {
    return this.#derive(`mimosa mesh proof of the ${role}\0`)
  }

  isProof(role: Role, proof: Buffer): boolean {
    const expected = this.proof(role)
    return proof.length === expected.length && timingSafeEqual(proof, expected)
  }

  /** Seals what `role` sends. */
  seal(role: Role): Seal {
    return new Seal(this.#derive(`mimosa mesh key of the ${role}\0`))
  }

  #derive(label: string): Buffer {
    return createHmac("sha256", this.#secret).update(label).update(this.#transcript).digest()
  }
}

export type Role = "dialer" | "acceptor"

export const sealBytes = 16

/** The seals of one direction, numbered. */
export class Seal {
  readonly #key: Buffer
  readonly #number = Buffer.alloc(8)
  #count = 0

  constructor(key: Buffer) {
    this.#key = key
  }

  next(parts: ReadonlyArray<Uint8Array>): Buffer {
    this.#number.writeDoubleBE(++this.#count, 0)
    const hmac = createHmac("sha256", this.#key).update(this.#number)
    for (const part of parts) hmac.update(part)
    return hmac.digest().subarray(0, sealBytes)
  }

  isNext(bytes: Buffer, seal: Buffer): boolean {
    return seal.length === sealBytes && timingSafeEqual(this.next([bytes]), seal)
  }
}

export const recordKind = { frame: 1, seal: 2, ping: 3, addresses: 4, bye: 5 } as const

export const recordHeadBytes = 5

export const recordHead = (kind: number, payloadBytes: number): Buffer => {
  const head = Buffer.allocUnsafe(recordHeadBytes)
  head.writeUInt32BE(payloadBytes + 1, 0)
  head[4] = kind
  return head
}

export const encodeRecord = (kind: number, payload: Uint8Array): Buffer => {
  const record = Buffer.allocUnsafe(recordHeadBytes + payload.length)
  record.writeUInt32BE(payload.length + 1, 0)
  record[4] = kind
  record.set(payload, recordHeadBytes)
  return record
}

/** What a sender writes at most before it seals, one long frame aside. */
export const sealedBytesMax = 64 * 1024

const controlBytesMax = 256 * 1024 // of a record that is no frame; the longest list of members has 136 KB
const sealSlack = 64 // bytes of heads

/** Why a stream is not read on: a record over the limit, bytes that are no records, a seal that is not right. */
export type StreamRefusal = "oversized" | "garbage" | "forged"

/**
 * Cuts records out of what comes in, in whatever pieces.
 *
 * What it hands out are views: of the piece that came, or of a buffer that is not written again where they are. It holds
 * at most twice what has come of records that are not whole or not sealed, and these are bounded.
 */
export class RecordReader {
  readonly #seal: Seal | null
  readonly #frameBytesMax: number
  readonly #unsealedMax: number
  readonly #onRecord: (kind: number, payload: Buffer) => void
  /** Bytes [start, end) have come and are not handed out; records up to `scanned` are whole and wait for their seal. */
  #held: Buffer = empty
  #start = 0
  #scanned = 0
  #end = 0

  constructor(options: {
    readonly seal: Seal | null
    readonly frameBytesMax: number
    readonly onRecord: (kind: number, payload: Buffer) => void
  }) {
    this.#seal = options.seal
    this.#frameBytesMax = options.frameBytesMax
    this.#unsealedMax = Math.max(options.frameBytesMax, controlBytesMax) + sealedBytesMax + sealSlack
    this.#onRecord = options.onRecord
  }

  get heldBytes(): number {
    return this.#end - this.#start
  }

  push(piece: Buffer): StreamRefusal | null {
    this.#append(piece)
    const held = this.#held
    while (this.#end - this.#scanned >= recordHeadBytes) {
      const at = this.#scanned
      const bytes = held.readUInt32BE(at)
      if (bytes === 0) return "garbage"
      const bytesMax = held[at + 4] === recordKind.frame ? this.#frameBytesMax : controlBytesMax
      if (bytes > bytesMax + 1 || at + bytes - this.#start > this.#unsealedMax) return "oversized"
      const next = at + 4 + bytes
      if (next > this.#end) break
      this.#scanned = next
      if (this.#seal === null) {
        this.#start = next
        this.#onRecord(held[at + 4] as number, held.subarray(at + recordHeadBytes, next))
      } else if (held[at + 4] === recordKind.seal) {
        if (!this.#seal.isNext(held.subarray(this.#start, at), held.subarray(at + recordHeadBytes, next))) {
          return "forged"
        }
        const start = this.#start
        this.#start = next
        this.#handOut(held, start, at)
      }
    }
    if (this.#start === this.#end) {
      this.#held = empty
      this.#start = this.#scanned = this.#end = 0
    }
    return null
  }

  #handOut(held: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const next = at + 4 + held.readUInt32BE(at)
      this.#onRecord(held[at + 4] as number, held.subarray(at + recordHeadBytes, next))
      at = next
    }
  }

  #append(piece: Buffer): void {
    if (this.#start === this.#end) {
      this.#held = piece
      this.#start = this.#scanned = 0
      this.#end = piece.length
      return
    }
    const end = this.#end + piece.length
    if (end > this.#held.length) {
      const kept = this.#end - this.#start
      const larger = Buffer.allocUnsafeSlow(2 * (kept + piece.length))
      this.#held.copy(larger, 0, this.#start, this.#end)
      this.#held = larger
      this.#scanned -= this.#start
      this.#start = 0
      this.#end = kept
    }
    piece.copy(this.#held, this.#end)
    this.#end += piece.length
  }
}

const empty = Buffer.alloc(0)

export const gossipMax = 512 // members in one list; some 15 KB

export const encodeMembers = (members: ReadonlyArray<PeerInfo>): Buffer => {
  const rows = members.slice(0, gossipMax).map(({ origin, region, address }) => {
    const text = Buffer.from(address, "latin1").subarray(0, addressBytesMax)
    const row = Buffer.allocUnsafe(11 + text.length)
    row.writeDoubleBE(origin, 0)
    row.writeUInt16BE(region, 8)
    row[10] = text.length
    text.copy(row, 11)
    return row
  })
  return encodeRecord(recordKind.addresses, Buffer.concat(rows))
}

/** As many as are whole and make sense, up to the bound. */
export const decodeMembers = (payload: Buffer): PeerInfo[] => {
  const members: PeerInfo[] = []
  for (let at = 0; at + 11 <= payload.length && members.length < gossipMax; ) {
    const origin = payload.readDoubleBE(at)
    const end = at + 11 + (payload[at + 10] as number)
    if (end > payload.length) break
    if (isOrigin(origin)) {
      members.push({ origin, region: payload.readUInt16BE(at + 8), address: payload.toString("latin1", at + 11, end) })
    }
    at = end
  }
  return members
}

const beaconHeadBytes = 26

/** A datagram that says who is there: with a secret, ended by an HMAC of it, cut to 16 bytes. */
export const encodeBeacon = (namespaceId: Buffer, secret: string | undefined, news: PeerInfo): Buffer => {
  const address = Buffer.from(news.address, "latin1").subarray(0, addressBytesMax)
  const body = Buffer.allocUnsafe(beaconHeadBytes + address.length)
  body.writeUInt32BE(magic, 0)
  body[4] = format
  body[5] = secret === undefined ? 0 : 1
  namespaceId.copy(body, 6)
  body.writeDoubleBE(news.origin, 14)
  body.writeUInt16BE(news.region, 22)
  body[24] = address.length
  body[25] = 0 // reserved
  address.copy(body, beaconHeadBytes)
  return secret === undefined ? body : Buffer.concat([body, beaconSeal(secret, body)])
}

/** What a datagram says; `null` when it is meant for others. */
export const decodeBeacon = (
  namespaceId: Buffer,
  secret: string | undefined,
  bytes: Buffer
): PeerInfo | null | "garbage" | "forged" => {
  if (bytes.length < beaconHeadBytes || bytes.readUInt32BE(0) !== magic || bytes[4] !== format) return "garbage"
  if (!bytes.subarray(6, 14).equals(namespaceId)) return null
  const bodyBytes = beaconHeadBytes + (bytes[24] as number)
  const origin = bytes.readDoubleBE(14)
  if (bodyBytes > bytes.length || !isOrigin(origin)) return "garbage"
  if (secret !== undefined) {
    const seal = bytes.subarray(bodyBytes, bodyBytes + sealBytes)
    const expected = beaconSeal(secret, bytes.subarray(0, bodyBytes))
    if (seal.length !== sealBytes || !timingSafeEqual(seal, expected)) return "forged"
  }
  return { ...claimOf(bytes), region: bytes.readUInt16BE(22) }
}

/** Whose a well-made beacon says that it is; true only where its seal is. */
export const claimOf = (bytes: Buffer): Pick<PeerInfo, "origin" | "address"> => ({
  origin: bytes.readDoubleBE(14),
  address: bytes.toString("latin1", beaconHeadBytes, beaconHeadBytes + (bytes[24] as number))
})

const beaconSeal = (secret: string, body: Buffer): Buffer =>
  createHmac("sha256", secret).update("mimosa mesh beacon\0").update(body).digest().subarray(0, sealBytes)
