/**
 * A value as bytes, and back as exactly the same value: MessagePack [1] behind one byte that names the version.
 *
 * MessagePack has nearly all that a value needs: integers and floats apart (1 is `01`, 1.0 is `cb 3f f0 …`), text and
 * bytes apart, maps with any keys. So a reader in another language that skips the first byte sees the value as it is.
 * Two extensions say what is ours: type 1 an integer that a number could hold, or of more than 64 bits, though it is a
 * bigint (two's complement, the highest byte first); type 2 a `Map` of which all keys are text (its content is the
 * map), since such a map is an object otherwise. Only programs make these two, never Lua.
 *
 * It is written by hand: @msgpack/msgpack, with which the tests compare it, turns -0 into 0, cannot tell 1.0 from 1
 * when it reads, refuses the name `__proto__`, takes bytes that are no UTF-8 for text, and has no limit of depth. Here
 * what is read is bounded before anything is made of it: by the bytes that are there and by the depth of values.
 *
 * [1] github.com/msgpack/msgpack, spec.md.
 */
import { isUtf8 } from "node:buffer"
import { type Nested, toFloat, type Value, type ValueArray, type ValueMap, type ValueObject } from "../kernel/index.ts"
import { InvalidBytes } from "./CacheError.ts"
import { depthMax, integerBitsMax } from "./Json.ts"

/** The first byte. A reader refuses what is newer than itself. */
export const codecVersion = 1

/**
 * The value as bytes, which are the caller's. O(size).
 *
 * @example
 * const bytes = encodeValue(toFloat(1)) // decodeValue(bytes) is the float 1.0 again
 */
export const encodeValue = (value: Value): Uint8Array => {
  writer.begin()
  if (typeof value === "string") writer.bytesOf(value)
  else writer.value(value)
  return writer.end()
}

/** The value that these bytes are, frozen as the kernel keeps it; nothing of it refers to the bytes. O(length). */
export const decodeValue = (bytes: Uint8Array): Value | InvalidBytes => {
  try {
    return new Reader(bytes).whole()
  } catch (failure) {
    if (failure instanceof InvalidBytes) return failure
    throw failure
  }
}

/** What MessagePack begins with, by what follows. */
const code = {
  nil: 0xc0,
  false: 0xc2,
  true: 0xc3,
  bin8: 0xc4,
  bin16: 0xc5,
  bin32: 0xc6,
  ext8: 0xc7,
  ext16: 0xc8,
  ext32: 0xc9,
  float32: 0xca,
  float64: 0xcb,
  uint8: 0xcc,
  uint16: 0xcd,
  uint32: 0xce,
  uint64: 0xcf,
  int8: 0xd0,
  int16: 0xd1,
  int32: 0xd2,
  int64: 0xd3,
  fixext1: 0xd4,
  fixext16: 0xd8,
  str8: 0xd9,
  str16: 0xda,
  str32: 0xdb,
  array16: 0xdc,
  array32: 0xdd,
  map16: 0xde,
  map32: 0xdf
} as const

/** Codes that carry a small number within themselves: the lowest of each. */
const fix = { map: 0x80, array: 0x90, str: 0xa0, negative: 0xe0 } as const

/** Types of our extensions. */
const extension = { integer: 1, map: 2 } as const

class Writer {
  private buffer = Buffer.allocUnsafeSlow(scratchBytes)
  private view = new DataView(this.buffer.buffer)
  private at = 0

  begin(): void {
    this.at = 0
    this.room(1)
    this.buffer[this.at++] = codecVersion
  }

  /** A copy of what was written; a buffer that has grown large is given back. */
  end(): Uint8Array {
    const bytes = new Uint8Array(this.at)
    bytes.set(this.buffer.subarray(0, this.at))
    if (this.buffer.length > scratchBytesMax) {
      this.buffer = Buffer.allocUnsafeSlow(scratchBytes)
      this.view = new DataView(this.buffer.buffer)
    }
    return bytes
  }

  /** Bytes on top of a value: a latin1 string. */
  bytesOf(latin1: string): void {
    this.head(latin1.length, code.bin8, latin1.length)
    this.at += this.buffer.write(latin1, this.at, "latin1")
  }

  value(value: Nested): void {
    this.room(longest)
    if (typeof value === "string") this.text(value)
    else if (typeof value === "number") {
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) this.integer(value)
      else this.float(value)
    } else if (typeof value === "bigint") this.bigint(value)
    else if (typeof value === "boolean") this.buffer[this.at++] = value ? code.true : code.false
    else if (value === null) this.buffer[this.at++] = code.nil
    else if (Array.isArray(value)) this.array(value)
    else if (value instanceof Map) this.map(value)
    else if (value instanceof Number) this.float(value.valueOf())
    else if (value instanceof Uint8Array) {
      this.head(value.length, code.bin8, value.length)
      this.buffer.set(value, this.at)
      this.at += value.length
    } else this.object(value as ValueObject)
  }

  private array(items: ValueArray): void {
    this.tableHead(items.length, fix.array, code.array16)
    for (let i = 0; i < items.length; i++) this.value(items[i] as Nested)
  }

  private object(object: ValueObject): void {
    const names = Object.keys(object)
    this.tableHead(names.length, fix.map, code.map16)
    for (let i = 0; i < names.length; i++) {
      const name = names[i] as string
      this.room(longest)
      this.text(name)
      this.value(object[name] as Nested)
    }
  }

  private map(map: ValueMap): void {
    let isLikeObject = true
    for (const key of map.keys()) isLikeObject &&= typeof key === "string"
    const start = this.at
    if (isLikeObject) this.at += extensionHeadBytes
    this.tableHead(map.size, fix.map, code.map16)
    for (const [key, item] of map) {
      this.value(key)
      this.value(item)
    }
    if (!isLikeObject) return
    this.buffer[start] = code.ext32
    this.view.setUint32(start + 1, this.at - start - extensionHeadBytes)
    this.buffer[start + 5] = extension.map
  }

  private text(text: string): void {
    const length = Buffer.byteLength(text)
    if (length < 32) {
      this.room(1 + length)
      this.buffer[this.at++] = fix.str | length
    } else this.head(length, code.str8, length)
    if (length > shortMax || length !== text.length) {
      this.at += this.buffer.write(text, this.at, "utf8")
      return
    }
    for (let i = 0; i < length; i++) this.buffer[this.at++] = text.charCodeAt(i)
  }

  private float(value: number): void {
    this.buffer[this.at] = code.float64
    this.view.setFloat64(this.at + 1, value)
    this.at += 9
  }

  private integer(value: number): void {
    const { buffer, view, at } = this
    if (value >= -32 && value < 128) {
      buffer[at] = value
      this.at += 1
    } else if (value >= -0x80 && value < 0x100) {
      buffer[at] = value < 0 ? code.int8 : code.uint8
      buffer[at + 1] = value
      this.at += 2
    } else if (value >= -0x8000 && value < 0x10000) {
      buffer[at] = value < 0 ? code.int16 : code.uint16
      view.setInt16(at + 1, value)
      this.at += 3
    } else if (value >= -0x8000_0000 && value < 0x1_0000_0000) {
      buffer[at] = value < 0 ? code.int32 : code.uint32
      view.setInt32(at + 1, value)
      this.at += 5
    } else {
      buffer[at] = code.int64
      view.setInt32(at + 1, Math.floor(value / 0x1_0000_0000))
      view.setInt32(at + 5, value)
      this.at += 9
    }
  }

  private bigint(value: bigint): void {
    const isInt64 = BigInt.asIntN(64, value) === value
    if (isInt64 && !Number.isSafeInteger(Number(value))) {
      this.buffer[this.at] = code.int64
      this.view.setBigInt64(this.at + 1, value)
      this.at += 9
      return
    }
    const magnitude = value < 0n ? ~value : value
    const length = (magnitude.toString(16).length >> 1) + 1 // with room for the sign
    const digits = BigInt.asUintN(8 * length, value)
      .toString(16)
      .padStart(2 * length, "0")
    this.room(extensionHeadBytes + length)
    this.buffer[this.at] = code.ext32
    this.view.setUint32(this.at + 1, length)
    this.buffer[this.at + 5] = extension.integer
    this.at += extensionHeadBytes
    this.at += this.buffer.write(digits, this.at, length, "hex")
  }

  /** A head of one, two or four bytes of length, `lowest` being the code of the first; and room for what follows. */
  private head(length: number, lowest: number, following: number): void {
    this.room(5 + following)
    const { buffer, view, at } = this
    if (length < 0x100) {
      buffer[at] = lowest
      buffer[at + 1] = length
      this.at += 2
    } else if (length < 0x10000) {
      buffer[at] = lowest + 1
      view.setUint16(at + 1, length)
      this.at += 3
    } else {
      buffer[at] = lowest + 2
      view.setUint32(at + 1, length)
      this.at += 5
    }
  }

  private tableHead(count: number, lowest: number, longer: number): void {
    this.room(longest)
    const { buffer, view, at } = this
    if (count < 16) {
      buffer[at] = lowest | count
      this.at += 1
    } else if (count < 0x10000) {
      buffer[at] = longer
      view.setUint16(at + 1, count)
      this.at += 3
    } else {
      buffer[at] = longer + 1
      view.setUint32(at + 1, count)
      this.at += 5
    }
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.buffer.length, this.at + bytes))
    larger.set(this.buffer.subarray(0, this.at))
    this.buffer = larger
    this.view = new DataView(larger.buffer)
  }
}

class Reader {
  private readonly bytes: Buffer
  private readonly view: DataView
  private at = 0

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  whole(): Value {
    const version = this.byte()
    if (version !== codecVersion) {
      throw new InvalidBytes({ at: 0, reason: `they are of version ${version}, this program reads ${codecVersion}` })
    }
    const value = this.value(0)
    if (this.at !== this.bytes.length) throw this.wrong("the value has ended before")
    if (typeof value === "string") throw new InvalidBytes({ at: 1, reason: "a string on top is bytes, not text" })
    return value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value
  }

  /** A value within `depth` tables. */
  private value(depth: number): Nested {
    const head = this.byte()
    if (head < fix.map) return head
    if (head >= fix.negative) return head - 0x100
    if (head < fix.array) return this.map(head & 15, depth)
    if (head < fix.str) return this.array(head & 15, depth)
    if (head < code.nil) return this.text(head & 31)
    switch (head) {
      case code.nil:
        return null
      case code.false:
        return false
      case code.true:
        return true
      case code.bin8:
        return this.binary(this.uint(1))
      case code.bin16:
        return this.binary(this.uint(2))
      case code.bin32:
        return this.binary(this.uint(4))
      case code.float32:
        return toFloat(this.view.getFloat32(this.take(4)))
      case code.float64:
        return toFloat(this.view.getFloat64(this.take(8)))
      case code.uint8:
        return this.uint(1)
      case code.uint16:
        return this.uint(2)
      case code.uint32:
        return this.uint(4)
      case code.uint64:
        return narrowed(this.view.getBigUint64(this.take(8)))
      case code.int8:
        return this.view.getInt8(this.take(1))
      case code.int16:
        return this.view.getInt16(this.take(2))
      case code.int32:
        return this.view.getInt32(this.take(4))
      case code.int64:
        return narrowed(this.view.getBigInt64(this.take(8)))
      case code.str8:
        return this.text(this.uint(1))
      case code.str16:
        return this.text(this.uint(2))
      case code.str32:
        return this.text(this.uint(4))
      case code.array16:
        return this.array(this.uint(2), depth)
      case code.array32:
        return this.array(this.uint(4), depth)
      case code.map16:
        return this.map(this.uint(2), depth)
      case code.map32:
        return this.map(this.uint(4), depth)
      case code.ext8:
        return this.extended(this.uint(1), depth)
      case code.ext16:
        return this.extended(this.uint(2), depth)
      case code.ext32:
        return this.extended(this.uint(4), depth)
    }
    if (head >= code.fixext1 && head <= code.fixext16) return this.extended(1 << (head - code.fixext1), depth)
    this.at--
    throw this.wrong(`0x${head.toString(16)} begins nothing`)
  }

  private array(count: number, depth: number): Nested {
    this.mayHold(count, depth)
    const items = new Array<Nested>(count)
    for (let i = 0; i < count; i++) items[i] = this.value(depth + 1)
    return Object.freeze(items)
  }

  /** An object where all keys are text, else a map. */
  private map(count: number, depth: number): ValueObject | ValueMap {
    this.mayHold(2 * count, depth)
    const object: Record<string, Nested> = Object.create(null) // so that "__proto__" is a name like any other
    for (let i = 0; i < count; i++) {
      const key = this.value(depth + 1)
      if (typeof key !== "string")
        return this.mixed(new Map<Nested, Nested>(Object.entries(object)), key, count - i, depth)
      object[key] = this.value(depth + 1)
    }
    return Object.freeze(object)
  }

  /** Goes on with a map's `left` pairs from the first key on that is no text, and has been read. */
  private mixed(map: Map<Nested, Nested>, key: Nested, left: number, depth: number): ValueMap {
    for (let next = key; ; next = this.value(depth + 1)) {
      map.set(next instanceof Number ? next.valueOf() : next, this.value(depth + 1)) // to Lua 1.0 and 1 are one key
      if (--left === 0) return map
    }
  }

  private extended(length: number, depth: number): Nested {
    const type = this.view.getInt8(this.take(1))
    const start = this.take(length)
    if (type === extension.integer && length > 0) {
      if (length > integerBytesMax) throw this.wrong(`an integer has at most ${integerBytesMax} bytes`)
      return BigInt.asIntN(8 * length, BigInt(`0x${this.bytes.toString("hex", start, this.at)}`))
    }
    if (type === extension.map) {
      const { at } = this
      this.at = start
      const map = isMapHead(this.bytes[start]) ? this.value(depth) : null
      if (map === null || map instanceof Map || this.at !== at) {
        throw this.wrong("an extension of type 2 is one map, with texts as keys")
      }
      return new Map(Object.entries(map))
    }
    throw this.wrong(`an extension of type ${type} is not known`)
  }

  private text(length: number): string {
    const start = this.take(length)
    const { bytes } = this
    if (length <= rememberedMax) {
      let [hash, all] = [length, 0]
      for (let i = start; i < this.at; i++) {
        const byte = bytes[i] as number
        hash = (Math.imul(hash, 31) + byte) | 0
        all |= byte
      }
      if (all < 0x80) return this.shortAscii(start, length, Math.imul(hash, 0x9e3779b1) >>> rememberedShift)
    }
    if (!isUtf8(bytes.subarray(start, this.at))) throw this.wrong("a text is no UTF-8")
    return bytes.toString("utf8", start, this.at)
  }

  /** Nearly all short texts are names, which come again and again. */
  private shortAscii(start: number, length: number, slot: number): string {
    const known = remembered[slot] as string
    if (known.length === length) {
      let i = 0
      while (i < length && known.charCodeAt(i) === this.bytes[start + i]) i++
      if (i === length) return known
    }
    const text = this.bytes.toString("latin1", start, start + length)
    remembered[slot] = text
    return text
  }

  private binary(length: number): Uint8Array {
    const start = this.take(length)
    return new Uint8Array(this.bytes.subarray(start, this.at)) // a copy
  }

  /** Refuses a table that is nested too deep, or larger than all that follows: an item is a byte at least. */
  private mayHold(parts: number, depth: number): void {
    if (depth >= depthMax) throw this.wrong(`it is nested deeper than ${depthMax} levels`)
    if (parts > this.bytes.length - this.at) throw this.wrong("it ends within a table")
  }

  private byte(): number {
    return this.bytes[this.take(1)] as number
  }

  private uint(length: 1 | 2 | 4): number {
    return this.bytes.readUIntBE(this.take(length), length)
  }

  /** Passes so many bytes, and answers where they begin. */
  private take(length: number): number {
    const { at } = this
    if (length > this.bytes.length - at) throw this.wrong("it ends within a value")
    this.at = at + length
    return at
  }

  private wrong(reason: string): InvalidBytes {
    return new InvalidBytes({ at: this.at, reason })
  }
}

const narrowed = (integer: bigint): number | bigint => {
  const number = Number(integer)
  return Number.isSafeInteger(number) ? number : integer
}

const isMapHead = (head: number | undefined): boolean =>
  head !== undefined && ((head >= fix.map && head < fix.array) || head === code.map16 || head === code.map32)

const longest = 16 // bytes of a number, or of the head of a table within the head of an extension
const extensionHeadBytes = 6 // code, length, type
const integerBytesMax = integerBitsMax / 8 + 1 // a byte that has the sign alone is allowed
const shortMax = 24 // bytes; below it a loop beats a call into Node's C++
const rememberedMax = 32 // bytes of a text that is remembered
const rememberedShift = 22 // leaves as many bits as there are slots
const remembered: string[] = new Array(1024).fill("")
const scratchBytes = 4 << 10 // what most values fit into
const scratchBytesMax = 1 << 20 // what is kept between values

const writer = new Writer()
