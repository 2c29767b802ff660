/**
 * A machine's memory as the host sees it: views that never detach (the memory is not allowed to grow), and bytes moved
 * as latin1 strings, one character a byte.
 *
 * Short strings are copied by a loop, which beats a call into Node's C++ up to some fifty bytes. What comes out of Lua
 * short is looked up in a small table of strings seen before, so that the same key read a thousand times is one string,
 * with its hash already computed.
 */
import { isUtf8 } from "node:buffer"
import { arenaStart } from "./layout.ts"
import type { Pointer } from "./wasm.ts"
import type { WasmMemory } from "./webassembly.ts"

const shortMax = 48 // bytes; below it the loop is faster: docs/decisions.md

const internShift = 21 // leaves as many bits as there are slots

const internSlots = 2048 // strings a machine remembers, of 48 bytes at most; 1,024 keys in turn are found 6 times of 7

/** Node's own methods of Buffer, which skip the look-up of the encoding. */
interface RawBuffer {
  latin1Write(text: string, at: number, length: number): number
  latin1Slice(from: number, to: number): string
  utf8Write(text: string, at: number): number
  utf8Slice(from: number, to: number): string
}

export class Memory {
  readonly bytes: Uint8Array
  /** The same memory in words of 32 bits. */
  readonly words: Int32Array
  /** The cells of `layout.cell`. */
  readonly cells: Int32Array
  readonly doubles: Float64Array
  readonly view: DataView
  private readonly buffer: RawBuffer
  private readonly seen: Array<string> = new Array(internSlots).fill("")

  constructor(memory: WasmMemory) {
    this.bytes = new Uint8Array(memory.buffer)
    this.words = new Int32Array(memory.buffer)
    this.cells = new Int32Array(memory.buffer, arenaStart)
    this.doubles = new Float64Array(memory.buffer, arenaStart)
    this.view = new DataView(memory.buffer)
    this.buffer = Buffer.from(memory.buffer) as unknown as RawBuffer
  }

  /** The memory's size in bytes, and so the end of the arena. */
  get end(): Pointer {
    return this.bytes.length
  }

  /** Writes a string's characters as bytes. The caller has made sure that there is room for `text.length`. */
  writeLatin1(at: Pointer, text: string): void {
    const length = text.length
    if (length > shortMax) {
      this.buffer.latin1Write(text, at, length)
      return
    }
    const bytes = this.bytes
    for (let i = 0; i < length; i++) bytes[at + i] = text.charCodeAt(i)
  }

  readLatin1(at: Pointer, length: number): string {
    if (length > shortMax) return this.buffer.latin1Slice(at, at + length)
    if (length === 0) return ""
    const bytes = this.bytes
    let hash = length
    for (let i = at, end = at + length; i < end; i++) hash = (Math.imul(hash, 31) + (bytes[i] as number)) | 0
    const slot = Math.imul(hash, 0x9e3779b1) >>> internShift // Fibonacci hashing: keys differ in their last digits
    const known = this.seen[slot] as string
    if (known.length === length) {
      let i = 0
      while (i < length && known.charCodeAt(i) === bytes[at + i]) i++
      if (i === length) return known
    }
    const text = this.buffer.latin1Slice(at, at + length)
    this.seen[slot] = text
    return text
  }

  /** A copy of these bytes as text, or `undefined` when they are not UTF-8. */
  readUtf8(at: Pointer, length: number): string | undefined {
    if (length <= shortMax && this.isAscii(at, length)) return this.readLatin1(at, length)
    return isUtf8(this.bytes.subarray(at, at + length)) ? this.buffer.utf8Slice(at, at + length) : undefined
  }

  copy(at: Pointer, length: number): Uint8Array {
    return this.bytes.slice(at, at + length)
  }

  /** Writes text as UTF-8 and a zero after it; answers the length without the zero. */
  writeUtf8(at: Pointer, text: string): number {
    const length = text.length <= shortMax && this.writeAscii(at, text) ? text.length : this.buffer.utf8Write(text, at)
    this.bytes[at + length] = 0
    return length
  }

  private isAscii(at: Pointer, length: number): boolean {
    const bytes = this.bytes
    let all = 0
    for (let i = at, end = at + length; i < end; i++) all |= bytes[i] as number
    return all < 0x80
  }

  /** False where a character is not ASCII; what was written then is to be written over. */
  private writeAscii(at: Pointer, text: string): boolean {
    const bytes = this.bytes
    let all = 0
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      all |= code
      bytes[at + i] = code
    }
    return all < 0x80
  }
}
