/**
 * What instances say to each other: every frame, as an object and as bytes.
 *
 * INV carries hashes and versions, never a key's text or a value; FETCH and VALUE do. Numbers are JavaScript integers:
 * origins and hashes below 2^53 take 8 bytes, sequences and versions below 2^48 take 6. The header stands in front of
 * each frame, 28 bytes:
 *
 *     version 1 | type 1 | flags 1 | hops 1 | namespace 4 | author 8 | to 8 | region 2 | bytes of the fields 2
 *
 * and then come fields and lists (internal/wire.ts), with their own lengths, so that instances of different versions
 * share a namespace while they are upgraded. The version's upper four bits are the major one: another one is refused.
 * All else that is new is read as far as it is known: a higher minor version, longer fields and records, further lists,
 * further flags. A type that is not known decodes to `unknown` and can still be passed on by its header. So what must
 * be understood gets a new type or a new major version; what may be skipped gets a new field at an end.
 *
 * `decode` never throws, whatever the bytes: it answers a frame, or why they are none. It allocates in proportion to the
 * bytes that are there, not to the counts that they name, and its payloads are views: who keeps one copies it.
 * `encode` throws a RangeError for numbers that do not fit: that is a defect of this instance.
 *
 * Cost: an INV of 128 records is 1.96 KB; docs/decisions.md has the times.
 */
import { type Layout, layouts, recordBytes, wantsAck as wantsAckFlag } from "./internal/layouts.ts"
import { type FrameError, Reader, Writer } from "./internal/wire.ts"
import type { Span } from "./Marks.ts"

export { FrameError, type FrameErrorKind } from "./internal/wire.ts"

export interface Header {
  /** Number of the namespace: a frame of another one is not for us. */
  readonly namespace: number
  /** The instance that the frame speaks for: whose records these are, who asks, who answers. Never 0. */
  readonly author: number
  /** Whom it is for; 0: everybody. */
  readonly to: number
  /** The author's region, 0 to 65,535. */
  readonly region: number
  /** How often it was passed on, 0 to 255. */
  readonly hops: number
}

/** What a record is about. All but `key` are wide: they may concern any number of keys. */
export const Op = { key: 1, tag: 2, prefix: 3, clear: 4, define: 5 } as const
export type Op = (typeof Op)[keyof typeof Op]

/** `gone`: a removal, not a value. `derived`: written by a trigger that a peer's removal fired (law 13). */
export const RecordFlag = { gone: 0x40, derived: 0x80 } as const

/** One write or invalidation. Its sequence is that of its place in the frame. */
export interface LogRecord {
  readonly op: number
  /** `RecordFlag`s, or-ed. */
  readonly flags: number
  readonly hash: number
  /** Lamport time of the write; order of two writes: version, then author. */
  readonly version: number
}

/** New records of the author, from sequence `first` on; `isReplay`: in answer to a pull, perhaps by another holder. */
export interface Inv extends Header {
  readonly type: "inv"
  readonly isReplay: boolean
  readonly wantsAck: boolean
  readonly first: number
  readonly records: readonly LogRecord[]
}

/** "I am here": of the author itself, and, from a relay, of those it was heard from. */
export interface Heartbeat extends Header {
  readonly type: "heartbeat"
  readonly entries: readonly HeartbeatEntry[]
}
export interface HeartbeatEntry {
  readonly origin: number
  readonly region: number
  /** How it takes its region to be split (Cells.ts); 0 before it has joined. */
  readonly split: number
  readonly last: number
  readonly oldest: number
  readonly lamport: number
  /** How long ago the origin said this, as far as the relays know. */
  readonly ageMs: number
}

/** Asks for the records `first` to `last` of origin `of`. */
export interface Pull extends Header {
  readonly type: "pull"
  readonly of: number
  readonly first: number
  readonly last: number
}

/** Answer to a pull: of what it asks for of `of` nothing is here that was not sent, nor of what follows up to `oldest`. */
export interface Gone extends Header {
  readonly type: "gone"
  readonly of: number
  readonly oldest: number
}

/**
 * The highest sequence that the author has heard of each origin. Whoever tells of sequences tells also up to which version
 * it has heard (`lamport`): records that are given up as lost have been before what is written after that.
 */
export interface Vector extends Header {
  readonly type: "vector"
  readonly lamport: number
  readonly entries: readonly VectorEntry[]
}
export interface VectorEntry {
  readonly origin: number
  readonly region: number
  readonly highest: number
  /** It has left, is gone or was forgotten, as far as the frame's author knows: nobody need wait to hear of it. */
  readonly hasEnded: boolean
  /** HELLO and VECTOR: what the frame's author has given up of one that has ended, ascending; the lowest of it. */
  readonly holes?: readonly Span[]
}

/** Asks `of` what has moved after its sequence `since`. */
export interface BucketsAsk extends Header {
  readonly type: "bucketsAsk"
  readonly of: number
  readonly since: number
}

export interface Buckets extends Header {
  readonly type: "buckets"
  readonly of: number
  readonly since: number
  /** The answer is complete up to and with this sequence. */
  readonly upTo: number
  /** No version of its writes up to there is higher. */
  readonly lamport: number
  readonly bucketCount: number
  /** Bit b & 7 of byte b >> 3 says that bucket b was touched. Views the frame's bytes. */
  readonly bitmap: Uint8Array
  /** The wide operations after `since`; null: too many to know, take every one for happened. */
  readonly wide: readonly WideRecord[] | null
}
export interface WideRecord {
  readonly op: number
  readonly hash: number
  readonly sequence: number
}

export interface Hello extends Header {
  readonly type: "hello"
  /** It has just started and holds no baseline. */
  readonly isJoining: boolean
  /** It answers a HELLO: none is expected back. */
  readonly isAnswer: boolean
  /** As in heartbeats. */
  readonly split: number
  readonly last: number
  readonly oldest: number
  readonly lamport: number
  readonly vector: readonly VectorEntry[]
}

/** The author ends; `last` is its final sequence. */
export interface Leave extends Header {
  readonly type: "leave"
  readonly last: number
  readonly lamport: number
}

/** The author has applied 1 to `upTo` of `of`. */
export interface Ack extends Header {
  readonly type: "ack"
  readonly of: number
  readonly upTo: number
}

export interface Fetch extends Header {
  readonly type: "fetch"
  readonly id: number
  readonly lamport: number
  /** Who answers must have seen this much. */
  readonly vector: readonly VectorEntry[]
  /** Displayed keys, latin1. */
  readonly keys: readonly string[]
}

export const AnswerStatus = { none: 0, value: 1, behind: 2, tooLarge: 3, busy: 4 } as const
export type AnswerStatus = (typeof AnswerStatus)[keyof typeof AnswerStatus]

/** Answer to a FETCH: one answer for each key, in its order. */
export interface ValueFrame extends Header {
  readonly type: "value"
  readonly id: number
  readonly answers: readonly ValueAnswer[]
}
export interface ValueAnswer {
  /** An `AnswerStatus`; a number that is none of them comes from a newer peer and counts as `none`. */
  readonly status: number
  readonly version: number
  readonly writer: number
  /** The kernel's EntrySource at the holder. */
  readonly source: number
  /** Remaining life in whole ms; -1: no end. */
  readonly ttlMs: number
  /** Views the frame's bytes. */
  readonly payload: Uint8Array
}

/** Asks for the newest stamps of these hashes, of which `of` may know more than others. */
export interface Query extends Header {
  readonly type: "query"
  readonly id: number
  readonly of: number
  readonly hashes: readonly number[]
}

export interface Stamps extends Header {
  readonly type: "stamps"
  readonly id: number
  readonly answers: readonly Stamp[]
  /** Of its own writes the answering instance has forgotten none with a version above this. */
  readonly floor: number
}
export interface Stamp {
  readonly hash: number
  readonly version: number
  readonly author: number
  readonly isGone: boolean
}

/** Frames whose content is not the protocol's business. */
export interface Opaque extends Header {
  readonly type: "backup" | "define" | "probe"
  /** Views the frame's bytes. */
  readonly payload: Uint8Array
}

/** Of a newer peer: to be counted and skipped, or passed on by its `to`. */
export interface Unknown extends Header {
  readonly type: "unknown"
  readonly code: number
}

export type Frame =
  | Inv
  | Heartbeat
  | Pull
  | Gone
  | Vector
  | BucketsAsk
  | Buckets
  | Hello
  | Leave
  | Ack
  | Fetch
  | ValueFrame
  | Query
  | Stamps
  | Opaque

/** The bytes of a frame. Throws a RangeError for a number that does not fit. */
export const encode = (frame: Frame): Uint8Array => {
  const layout = layouts[frame.type]
  try {
    writeHeader(frame, layout, layout.flags?.(frame) ?? 0)
    layout.write(frame, out)
    return out.finish()
  } catch (defect) {
    out.reset()
    throw defect
  }
}

/** What holds records in another form than objects, and can write them one after the other. */
export interface RecordLog {
  writeTo(out: Writer, first: number, last: number): void
}

/**
 * The bytes of an INV with the records `first` to `last` of a log, as `encode` makes them of their objects: for what every
 * write comes through. Some 15 ns a record, where objects cost ten times that, their collection included.
 */
export const encodeRecords = (
  log: RecordLog,
  header: Header,
  first: number,
  last: number,
  wantsAck: boolean
): Uint8Array => {
  try {
    writeHeader(header, layouts.inv, wantsAck ? wantsAckFlag : 0)
    out.u48(first)
    out.list(recordBytes, last - first + 1)
    log.writeTo(out, first, last)
    return out.finish()
  } catch (defect) {
    out.reset()
    throw defect
  }
}

const writeHeader = (frame: Header, layout: Pick<Layout<Frame>, "code" | "fieldBytes">, flags: number): void => {
  if (frame.author === 0) throw new RangeError("a frame speaks for origin 0, which is nobody")
  out.reserve(headerBytes + layout.fieldBytes)
  out.u8(versionByte)
  out.u8(layout.code)
  out.u8(flags)
  out.u8(frame.hops)
  out.u32(frame.namespace)
  out.u64(frame.author)
  out.u64(frame.to)
  out.u16(frame.region)
  out.u16(layout.fieldBytes)
}

/** The frame of these bytes, or why they are none. Payloads and bitmaps view the bytes. Never throws. */
export const decode = (bytes: Uint8Array): Frame | Unknown | FrameError => {
  const from = new Reader(bytes)
  const header = readHeader(bytes, from)
  if (header === undefined) return from.error as FrameError
  const code = bytes[typeAt] as number
  const layout = layoutOf[code]
  if (layout === undefined) return { type: "unknown", ...header, code }
  if (!from.fields(layout.fieldBytes)) return from.error as FrameError
  const frame = layout.read(header, bytes[flagsAt] as number, from)
  return from.error ?? frame
}

const readHeader = (bytes: Uint8Array, from: Reader): Header | undefined => {
  if (bytes.length < headerBytes) {
    from.fail("short", `a frame has ${bytes.length} bytes; its header alone has ${headerBytes}`)
    return undefined
  }
  const version = bytes[0] as number
  if (version >> 4 !== versionByte >> 4) {
    from.fail("version", `a frame has the major version ${version >> 4}; this instance speaks ${versionByte >> 4}`)
    return undefined
  }
  from.header(headerBytes)
  const hops = bytes[hopsAt] as number
  const header = { namespace: from.u32(), author: from.origin(), to: from.u64(), region: from.u16(), hops }
  return from.error === undefined ? header : undefined
}

/** Whether these are the bytes of an INV: what was written. All other frames say how things are at the moment. */
export const isInv = (bytes: Uint8Array): boolean => bytes[typeAt] === layouts.inv.code

/** A copy of an encoded frame with another number of hops, to be passed on whatever its type. */
export const passedOn = (bytes: Uint8Array, hops: number): Uint8Array => {
  const copy = new Uint8Array(bytes)
  copy[hopsAt] = hops
  return copy
}

const versionByte = 0x10 // major 1, minor 0
const headerBytes = 28
const typeAt = 1
const flagsAt = 2
const hopsAt = 3

/** Writes all frames of this thread, one after the other. */
const out = new Writer(2 ** 16) // bytes: all but long values and long tables fit

/** Layouts by their number on the wire. */
const layoutOf: Array<Layout<Frame> | undefined> = []
for (const layout of Object.values(layouts)) layoutOf[layout.code] = layout
