/**
 * A world outside of any machine: the difference of a machine's memory against the memory that every machine of its make
 * is born with, the blank. Restoring the blank and writing the difference over it makes any machine go on as that world.
 *
 * This works because machines of one make boot byte for byte alike (time stands still, nothing is random, the same calls
 * in the same order: a test compares them, and `Blank.isOf` each new machine), so that whatever points into the memory
 * (Lua's own pointers, indices of functions) means the same in each. Between two steps the C stack is empty: what is
 * compared is the static data, the heap up to its end, and the shim's cells. What the wasm keeps in globals (the fuel) is
 * set at each step.
 *
 * Blocks that are equal are skipped by one call of memcmp; the others are compared word by word. Lua's collector leaves a
 * mark in each object of the libraries, one word of ten: a difference of whole grains would hold all of them, and be five
 * times larger. So a run of differing words takes its own length and one word more, for its address.
 */
import { arenaStart, cell } from "./layout.ts"
import type { Memory } from "./memory.ts"
import { heapEndOf, Snapshot } from "./snapshot.ts"
import type { LuaExports, Pointer } from "./wasm.ts"

/** What a machine is born with: the same for all that are made alike. */
export class Blank {
  /** Bytes that Lua holds in it. */
  readonly used: number
  private readonly snapshot: Snapshot
  private readonly stack: Pointer
  private readonly heapEnd: Pointer
  private readonly parts: ReadonlyArray<Part>

  /** Of a machine that has just been made. */
  constructor(memory: Memory, lua: LuaExports) {
    this.used = memory.cells[cell.used] as number
    this.snapshot = new Snapshot(memory, lua)
    this.stack = lua.stackSave()
    this.heapEnd = heapEndOf(memory)
    this.parts = [
      new Part(memory, 0, lua.emscripten_stack_get_end()),
      new Part(memory, arenaStart, arenaStart + cellBytes),
      new Part(memory, lua.emscripten_stack_get_base(), this.heapEnd)
    ]
  }

  /** Whether a machine's memory is this, byte for byte. */
  isOf(memory: Memory, lua: LuaExports): boolean {
    if (heapEndOf(memory) !== this.heapEnd || lua.stackSave() !== this.stack) return false
    const bytes = bytesOf(memory)
    return this.parts.every((part) => part.isIn(bytes))
  }

  /** Makes the machine as it was born, whatever has run in it, or was killed in it. */
  restore(memory: Memory, lua: LuaExports): void {
    this.snapshot.restore(memory, lua)
    ;(this.parts[1] as Part).writeTo(memory)
  }

  /** What the machine holds beyond the blank; `undefined` if that takes more than `bytesMax`. Between two steps only. */
  capture(memory: Memory, lua: LuaExports, bytesMax = Infinity): WorldImage | undefined {
    if (lua.stackSave() !== this.stack) throw new Error("a world is taken out of its machine between two steps only")
    const bytes = bytesOf(memory)
    const runs: Array<number> = []
    let length = 0
    for (const part of this.parts) length += part.compare(memory, bytes, runs)
    length += compareWithZeroes(memory, bytes, this.heapEnd >> 2, heapEndOf(memory) >> 2, runs)
    return 4 * length + objectBytes > bytesMax ? undefined : new WorldImage(memory, runs, length)
  }
}

/** A world's difference against its blank. */
export class WorldImage {
  /** What it costs the process, in bytes. */
  readonly bytes: number
  /** What Lua holds in it, with the blank's. */
  readonly used: number
  /** Run after run: its head, then its words. */
  private readonly words: Int32Array

  /** Of these runs of the memory, given by their heads; `length` is that of all of them with their heads, in words. */
  constructor(memory: Memory, runs: ReadonlyArray<number>, length: number) {
    const from = memory.words
    const words = new Int32Array(Buffer.allocUnsafeSlow(4 * length).buffer)
    let to = 0
    for (let i = 0; i < runs.length; i++) {
      const head = runs[i] as number
      let at = head & addressMask
      const end = at + (head >>> addressBits)
      words[to++] = head
      if (end - at > loopMax) {
        words.set(from.subarray(at, end), to)
        to += end - at
      } else while (at < end) words[to++] = from[at++] as number
    }
    this.words = words
    this.used = memory.cells[cell.used] as number
    this.bytes = words.byteLength + objectBytes
  }

  /** Writes the difference over the blank. */
  apply(memory: Memory): void {
    const { words } = this
    const to = memory.words
    for (let i = 0; i < words.length; ) {
      const head = words[i++] as number
      let at = head & addressMask
      const length = head >>> addressBits
      if (length > loopMax) {
        to.set(words.subarray(i, i + length), at)
        i += length
      } else for (const end = i + length; i < end; ) to[at++] = words[i++] as number
    }
  }
}

/** A stretch of the blank, to be compared with. Addresses are in words. */
class Part {
  readonly from: number
  readonly to: number
  private readonly words: Int32Array
  private readonly bytes: Buffer

  constructor(memory: Memory, from: Pointer, to: Pointer) {
    this.from = from >> 2
    this.to = to >> 2
    this.words = memory.words.slice(this.from, this.to)
    this.bytes = Buffer.from(this.words.buffer)
  }

  isIn(bytes: Buffer): boolean {
    return this.isEqual(bytes, this.from, this.to)
  }

  writeTo(memory: Memory): void {
    memory.words.set(this.words, this.from)
  }

  /** Adds what differs to the runs, and answers the words that they take. */
  compare(memory: Memory, bytes: Buffer, runs: Array<number>): number {
    const { from } = this
    const { words } = memory
    const known = this.words
    let length = 0
    for (let block = from; block < this.to; block += blockWords) {
      const end = Math.min(block + blockWords, this.to)
      if (this.isEqual(bytes, block, end)) continue
      let at = difference(words, block, known, block - from, end)
      while (at < end) {
        const first = at
        let last = at++
        for (; at < end && at <= last + gapMax; at++) if (words[at] !== known[at - from]) last = at
        length += add(runs, first, last + 1)
        at = difference(words, at, known, at - from, end)
      }
    }
    return length
  }

  private isEqual(bytes: Buffer, from: number, to: number): boolean {
    const start = from - this.from
    return bytes.compare(this.bytes, 4 * start, 4 * (start + to - from), 4 * from, 4 * to) === 0
  }
}

/** The first word that differs. A function of its own: V8 makes a tighter loop of it. */
const difference = (words: Int32Array, at: number, others: Int32Array, from: number, end: number): number => {
  while (at < end && words[at] === others[from]) {
    at++
    from++
  }
  return at
}

/** The same for what lies beyond the blank's heap, where there was nothing: page by page, without the zeroes around it. */
const compareWithZeroes = (memory: Memory, bytes: Buffer, from: number, to: number, runs: Array<number>): number => {
  const { words } = memory
  let length = 0
  for (let page = from; page < to; page += pageWords) {
    let end = Math.min(page + pageWords, to)
    if (bytes.compare(zeroes, 0, 4 * (end - page), 4 * page, 4 * end) === 0) continue
    let first = page
    while (words[first] === 0) first++
    while (words[end - 1] === 0) end--
    length += add(runs, first, end)
  }
  return length
}

/** Adds a run of words, of a page at most, and answers how many it takes with its head. */
const add = (runs: Array<number>, from: number, to: number): number => {
  runs.push(from | ((to - from) << addressBits))
  return to - from + 1
}

const bytesOf = (memory: Memory): Buffer => Buffer.from(memory.bytes.buffer)

// A run's head: its address in the lower bits, its length above them.
const addressBits = 22 // 16 MiB of words

const addressMask = (1 << addressBits) - 1

const blockWords = 256 // 1 KiB; a comparison that finds nothing takes some 80 ns, one word by word 300

const pageWords = 1020 // 4 KiB, and short enough for a length of ten bits

const gapMax = 3 // equal words that a run may hold one after the other: a new one would cost a head, and time

const loopMax = 32 // words; more are faster copied by one call

const zeroes = Buffer.alloc(4 * pageWords)

const cellBytes = 2048 // of the arena: the cells and the chain of coroutines; what follows is scratch, or never changes

const objectBytes = 256 // an image's objects, beside its words; some 200 of them in V8, more or less
