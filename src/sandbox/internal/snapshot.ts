/**
 * A machine's whole state between two runs, as a copy: of what is not zero in its static data and its heap. The C stack
 * is empty then, and the arena is the host's.
 *
 * Going back means copying it all: finding out what has changed would cost more. Beyond the heap's end of that time
 * everything that has been touched since is zeroed, so that nothing of a run is left even as garbage.
 */
import { cell } from "./layout.ts"
import type { Memory } from "./memory.ts"
import type { LuaExports, Pointer } from "./wasm.ts"

const page = 4096 // bytes; the grain in which zeroes are left out

export class Snapshot {
  /** Bytes that a rewind copies. */
  readonly size: number
  /** What Lua held. */
  readonly used: number
  /** Where the C heap ended; what lies beyond was never touched, or is zeroed again. */
  private readonly heapEnd: Pointer
  private readonly stack: Pointer
  private readonly copies: Array<Uint8Array> = []
  private readonly copyAt: Array<Pointer> = []
  private readonly gaps: Array<Pointer> = [] // from, to, from, to, …: what was zero between the copies

  constructor(memory: Memory, lua: LuaExports) {
    this.used = memory.cells[cell.used] as number
    this.heapEnd = heapEndOf(memory)
    this.stack = lua.stackSave()
    lua.setThrew(0, 0) // what the last Lua error was is no part of the state
    const heap = lua.emscripten_stack_get_base()
    let size = this.take(memory, 0, lua.emscripten_stack_get_end() & -page)
    size += this.take(memory, lua.emscripten_stack_get_end() & -page, lua.emscripten_stack_get_end())
    size += this.take(memory, heap, this.heapEnd)
    this.size = size
  }

  /** How far past this state the heap has reached, in bytes. */
  growth(memory: Memory): number {
    return heapEndOf(memory) - this.heapEnd
  }

  restore(memory: Memory, lua: LuaExports): void {
    const { bytes, cells } = memory
    const { copies, copyAt, gaps } = this
    const touched = heapEndOf(memory)
    for (let i = 0; i < copies.length; i++) bytes.set(copies[i] as Uint8Array, copyAt[i])
    for (let i = 0; i < gaps.length; i += 2) bytes.fill(0, gaps[i], gaps[i + 1])
    if (touched > this.heapEnd) bytes.fill(0, this.heapEnd, touched)
    cells[cell.used] = this.used
    cells[cell.denied] = 0
    cells[cell.marks] = 0
    cells[cell.line] = 0
    lua.stackRestore(this.stack)
    lua.setThrew(0, 0)
  }

  private take(memory: Memory, from: Pointer, to: Pointer): number {
    const { bytes } = memory
    let size = 0
    let at = from
    while (at < to) {
      const isZero = isZeroPage(bytes, at, Math.min(at + page, to))
      let end = Math.min(at + page, to)
      while (end < to && isZeroPage(bytes, end, Math.min(end + page, to)) === isZero) end = Math.min(end + page, to)
      if (isZero) this.gaps.push(at, end)
      else {
        this.copies.push(bytes.slice(at, end))
        this.copyAt.push(at)
        size += end - at
      }
      at = end
    }
    return size
  }
}

/** The address that the C heap ends at. */
export const heapEndOf = (memory: Memory): Pointer => memory.view.getUint32(memory.cells[cell.heapEnd] as number, true)

const isZeroPage = (bytes: Uint8Array, from: Pointer, to: Pointer): boolean => {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false
  return true
}
