/**
 * Numbers on the wire, big-endian, and the one shape that all frames have: a header, the type's own fields, and lists.
 *
 *     header | fields | list | list | …        list = bytes of a record (2) | number of records (4) | the records
 *
 * The length of the fields stands in the header and that of a record in its list. So whoever reads a frame of a newer
 * peer takes from each record what it knows and steps over the rest, and over lists after those that it knows. What is
 * of different lengths (keys, payloads) is two lists: the lengths, and all bytes together, with records of one byte.
 *
 * The reader trusts nothing: a list is measured against the bytes that are there before anything is allocated for it,
 * and no number leaves it that is not an exact integer. The first thing that is wrong is kept in `error`, what is read
 * after it is 0, and the frame that comes of it is thrown away: decoding has no exceptions and no way to run on.
 */
import { Buffer } from "node:buffer"

/** Why bytes are no frame: too few of them, another major version, a number out of its range, lengths that disagree. */
export type FrameErrorKind = "short" | "version" | "number" | "size"

/** Why bytes are no frame. Returned, never thrown. */
export class FrameError {
  readonly type = "error"

  constructor(
    /** For counters. */
    readonly kind: FrameErrorKind,
    /** For people: what was wrong, and what would be right. */
    readonly reason: string
  ) {}
}

const two32 = 2 ** 32
const u48Max = 2 ** 48 - 1
const recordBytesBytes = 2
const listHeadBytes = recordBytesBytes + 4

/** Writes one frame after the other into one buffer; `finish` answers a copy of what was written. */
export class Writer {
  private bytes: Buffer
  private view: DataView
  private at = 0

  constructor(private readonly bytesUsual: number) {
    this.bytes = Buffer.allocUnsafeSlow(bytesUsual)
    this.view = viewOf(this.bytes)
  }

  /** Room for `more` bytes: to be asked for before they are written, all at once where their number is known. */
  reserve(more: number): void {
    if (this.at + more <= this.bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(this.at + more, 2 * this.bytes.length))
    this.bytes.copy(larger, 0, 0, this.at)
    this.bytes = larger
    this.view = viewOf(larger)
  }

  /** Begins a list; the records are to follow. */
  list(recordBytes: number, count: number): void {
    this.reserve(listHeadBytes + recordBytes * count)
    this.u16(recordBytes)
    this.u32(count)
  }

  u8(value: number): void {
    this.view.setUint8(this.at, value)
    this.at += 1
  }

  u16(value: number): void {
    if (!(value >= 0 && value <= 0xffff)) throw outOfRange(value, "2^16")
    this.view.setUint16(this.at, value)
    this.at += 2
  }

  u32(value: number): void {
    if (!(value >= 0 && value < two32)) throw outOfRange(value, "2^32")
    this.view.setUint32(this.at, value)
    this.at += 4
  }

  /** Sequences, versions, times. */
  u48(value: number): void {
    if (!(value >= 0 && value <= u48Max)) throw outOfRange(value, "2^48")
    this.view.setUint16(this.at, value / two32) // what is stored is truncated,
    this.view.setUint32(this.at + 2, value) // and of it the lower bits
    this.at += 6
  }

  /** Origins and hashes. */
  u64(value: number): void {
    if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) throw outOfRange(value, "2^53")
    this.view.setUint32(this.at, value / two32)
    this.view.setUint32(this.at + 4, value)
    this.at += 8
  }

  /** Op and flags, a hash and a version: what most of what is written consists of. */
  record(opAndFlags: number, hash: number, version: number): void {
    if (!(hash >= 0 && hash <= Number.MAX_SAFE_INTEGER)) throw outOfRange(hash, "2^53")
    if (!(version >= 0 && version <= u48Max)) throw outOfRange(version, "2^48")
    const { view, at } = this
    view.setUint8(at, opAndFlags)
    view.setUint32(at + 1, hash / two32)
    view.setUint32(at + 5, hash)
    view.setUint16(at + 9, version / two32)
    view.setUint32(at + 11, version)
    this.at = at + 15
  }

  /** A list of bytes. */
  blob(bytes: Uint8Array): void {
    this.list(1, bytes.length)
    this.append(bytes)
  }

  /** Bytes of a list that was begun. */
  append(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.at)
    this.at += bytes.length
  }

  /** Characters of a list of bytes that was begun. */
  appendLatin1(text: string): void {
    this.at += this.bytes.write(text, this.at, "latin1")
  }

  finish(): Uint8Array {
    const pooled = Buffer.allocUnsafe(this.at) // an ArrayBuffer each would be the collector's work
    this.bytes.copy(pooled, 0, 0, this.at)
    const frame = new Uint8Array(pooled.buffer, pooled.byteOffset, this.at)
    this.at = 0
    if (this.bytes.length > this.bytesUsual) {
      this.bytes = Buffer.allocUnsafeSlow(this.bytesUsual)
      this.view = viewOf(this.bytes)
    }
    return frame
  }

  /** Forgets what was begun: the frame could not be written. */
  reset(): void {
    this.at = 0
  }
}

const outOfRange = (value: number, end: string): RangeError =>
  new RangeError(`${value} cannot go into a frame there; use an integer from 0 up to, but without, ${end}`)

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Reads one frame. The numbers read unchecked: `fields` or `list` has said that they are there. */
export class Reader {
  error: FrameError | undefined
  private readonly view: DataView
  private at = 0
  private fieldsAt = 0
  /** Where the next list begins, which is where the one that is being read ends. */
  private listAt = 0
  private recordBytes = 0

  constructor(private readonly bytes: Uint8Array) {
    this.view = viewOf(bytes)
  }

  fail(kind: FrameErrorKind, reason: string): void {
    this.error ??= new FrameError(kind, reason)
  }

  /** To the numbers of a header of so many bytes, which begin at byte 4. */
  header(bytes: number): void {
    this.at = 4
    this.fieldsAt = bytes
  }

  /** To the fields: `known` bytes, and after them those of a newer version. Answers whether they are there. */
  fields(known: number): boolean {
    this.at = this.fieldsAt - 2
    const there = this.u16()
    this.listAt = this.at + there
    if (there < known) this.fail("size", `the fields have ${there} bytes; those of this type have ${known} or more`)
    else if (this.listAt > this.bytes.length) {
      this.fail("short", `the fields end at byte ${this.listAt}, the frame at ${this.bytes.length}`)
    }
    return this.error === undefined
  }

  /** Steps to the next list and answers the number of its records, of which each has at least `known` bytes. */
  list(known: number): number {
    const head = this.listAt
    if (this.error !== undefined) return 0
    const left = this.bytes.length - head - listHeadBytes
    if (left < 0) {
      this.fail("short", `a list should begin at byte ${head}, and the frame ends at ${this.bytes.length}`)
      return 0
    }
    this.at = head
    const recordBytes = this.u16()
    const count = this.u32()
    if (recordBytes < known) {
      this.fail("size", `a record has ${recordBytes} bytes; there it has ${known} or more`)
      return 0
    }
    if (recordBytes * count > left) {
      this.fail("short", `a list has ${count} records of ${recordBytes} bytes, and ${left} bytes are left`)
      return 0
    }
    this.recordBytes = recordBytes
    this.listAt = head + listHeadBytes + recordBytes * count
    return count
  }

  /** To the beginning of the record of this number. */
  record(index: number, count: number): void {
    this.at = this.listAt - (count - index) * this.recordBytes
  }

  /** A list of bytes, as a view of the frame. */
  blob(): Uint8Array {
    const count = this.list(1)
    if (this.recordBytes !== 1 && this.error === undefined) {
      this.fail("size", `a list of bytes has records of ${this.recordBytes}`)
    }
    return this.error === undefined ? this.bytes.subarray(this.listAt - count, this.listAt) : noBytes
  }

  u8(): number {
    const value = this.view.getUint8(this.at)
    this.at += 1
    return value
  }

  u16(): number {
    const value = this.view.getUint16(this.at)
    this.at += 2
    return value
  }

  u32(): number {
    const value = this.view.getUint32(this.at)
    this.at += 4
    return value
  }

  u48(): number {
    const value = this.view.getUint16(this.at) * two32 + this.view.getUint32(this.at + 2)
    this.at += 6
    return value
  }

  u64(): number {
    const high = this.view.getUint32(this.at)
    const low = this.view.getUint32(this.at + 4)
    this.at += 8
    if (high <= u53High) return high * two32 + low
    this.fail("number", `byte ${this.at - 8} begins a number of 2^53 or more`)
    return 0
  }

  /** An origin: any number but 0. */
  origin(): number {
    const origin = this.u64()
    if (origin === 0) this.fail("number", `byte ${this.at - 8} begins an origin of 0, which is nobody`)
    return origin
  }

  /** A sequence of a record: from 1 up. */
  sequence(): number {
    const sequence = this.u48()
    if (sequence === 0) this.fail("number", `byte ${this.at - 6} begins a sequence of 0; they count from 1`)
    return sequence
  }
}

const u53High = 2 ** 21 - 1
const noBytes = new Uint8Array()

/** Bytes as text, one character each. */
export const latin1Of = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")
