/**
 * The event as a machine is about to see it: one slot a field, written once and read by each program that runs on it.
 *
 * A slot is named by its place in the list of fields that the machine was made with. What was not written since `reset`
 * is nil. Nothing is allocated: strings go as bytes into the arena, and the shim makes Lua's values of them.
 */
import { bytesStart, fieldBytes, fieldsMax, fieldsStart, kind } from "./internal/layout.ts"
import type { Memory } from "./internal/memory.ts"
import type { Pointer } from "./internal/wasm.ts"
import type { LuaCodec, LuaValue } from "./LuaCodec.ts"
import { Refusal } from "./LuaCodec.ts"

export class EventFrame {
  private readonly memory: Memory
  private readonly codec: LuaCodec
  private readonly names: ReadonlyArray<string>
  private readonly kinds: Int32Array // word 0 of a descriptor, word 1 the pointer, word 2 the length
  private readonly doubles: Float64Array
  /** Units of fuel that went into its structured fields since `reset`; how many are too many is the machine's to say. */
  work = 0
  /** Bytes after this address are free. */
  private endAt: Pointer = bytesStart
  private full = false

  constructor(memory: Memory, codec: LuaCodec, names: ReadonlyArray<string>) {
    this.memory = memory
    this.codec = codec
    this.names = names
    this.kinds = new Int32Array(memory.bytes.buffer, fieldsStart, fieldsMax * (fieldBytes >> 2))
    this.doubles = new Float64Array(memory.bytes.buffer, fieldsStart, fieldsMax * (fieldBytes >> 3))
  }

  /** Where the host may write what it answers during a run. */
  get end(): Pointer {
    return this.endAt
  }

  /** True when a string did not fit since the last reset: a run on this frame ends as "memory". */
  get isFull(): boolean {
    return this.full
  }

  /** Empties all slots. */
  reset(): void {
    this.endAt = bytesStart
    this.full = false
    this.work = 0
    for (let slot = this.names.length - 1; slot >= 0; slot--) this.kinds[slot << 2] = kind.nil
  }

  nil(slot: number): void {
    this.kinds[slot << 2] = kind.nil
  }

  /** Bytes, as a latin1 string. */
  string(slot: number, latin1: string): void {
    const at = this.endAt
    if (at + latin1.length > this.memory.end - reservedBytes) {
      this.full = true
      return
    }
    this.memory.writeLatin1(at, latin1)
    this.endAt = (at + latin1.length + 7) & ~7
    const word = slot << 2
    this.kinds[word] = kind.string
    this.kinds[word + 1] = at
    this.kinds[word + 2] = latin1.length
  }

  /** A Lua float. */
  number(slot: number, value: number): void {
    this.kinds[slot << 2] = kind.number
    this.doubles[(slot << 1) + 1] = value
  }

  /** A Lua integer, of at most 2^53 either way. */
  integer(slot: number, value: number): void {
    this.kinds[slot << 2] = kind.integer
    this.doubles[(slot << 1) + 1] = value
  }

  boolean(slot: number, value: boolean): void {
    this.kinds[slot << 2] = value ? kind.true : kind.false
  }

  /** A structured value. A refusal leaves the slot nil. */
  value(slot: number, value: LuaValue): Refusal | undefined {
    const at = this.endAt
    const end = this.codec.encode(at, value, this.names[slot] ?? String(slot))
    if (end instanceof Refusal || end > this.memory.end - reservedBytes) {
      this.kinds[slot << 2] = kind.nil
      if (end instanceof Refusal) return end
      this.full = true
      return undefined
    }
    this.endAt = (end + 7) & ~7
    this.kinds[slot << 2] = kind.encoded
    this.kinds[(slot << 2) + 1] = at
    return undefined
  }
}

/** Kept free after the fields, for a source that is compiled and for what host functions answer. */
const reservedBytes = 256 << 10
