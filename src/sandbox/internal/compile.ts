/** A chunk of text made a function of Lua, or the place where Lua could not go on. */
import { cell, lua as luaNumbers } from "./layout.ts"
import { type Machine, topMessage } from "./machine.ts"
import type { Pointer } from "./wasm.ts"

export interface CompileError {
  /** In Lua's words, without the position. */
  readonly message: string
  /** From 1. */
  readonly line: number
  /** From 1, in bytes; of the first byte that Lua could not make sense of. */
  readonly column: number
}

/** Leaves the function on the main stack; the arena from `at` on is written to. Text only. */
export const compileChunk = (machine: Machine, at: Pointer, name: string, source: string): CompileError | undefined => {
  const { memory, lua, L } = machine
  const modeAt = memory.writeUtf8(at, `=${name}`) + at + 8
  memory.writeUtf8(modeAt, "t")
  const sourceAt = modeAt + 8
  memory.writeLatin1(sourceAt, source)
  if (lua.luaL_loadbufferx(L, sourceAt, source.length, at, modeAt) === luaNumbers.ok) return undefined
  const { message } = located(topMessage(lua, memory, L), name)

  // Once more, a byte at a time: what the compiler has read then ends with what it stumbled over.
  memory.cells[cell.cursor] = sourceAt
  memory.cells[cell.bound] = sourceAt + source.length
  lua.lua_load(L, machine.reader, 0, at, modeAt)
  const read = (memory.cells[cell.cursor] as number) - sourceAt
  const near = / near '([\s\S]*)'$/.exec(message)?.[1]
  const found = near === undefined ? read - 1 : source.lastIndexOf(near, read - near.length)
  const before = source.slice(0, Math.max(0, found))
  return { message, line: before.split("\n").length, column: before.length - before.lastIndexOf("\n") }
}

/** Takes `name:12: ` off the message. */
export const located = (message: string, name: string): { readonly message: string; readonly line: number } => {
  const prefix = `${name}:`
  if (!message.startsWith(prefix)) return { message, line: 0 }
  const found = /^(\d+): ([\s\S]*)$/.exec(message.slice(prefix.length))
  return found === null ? { message, line: 0 } : { message: found[2] as string, line: Number(found[1]) }
}

/** A name as it can stand in messages: of one line, and no longer than Lua leaves it. */
export const programName = (name: string): string => name.replace(/[\r\n]/g, " ").slice(0, nameMax)

/** Units that the compiler has for this source. */
export const compileFuel = (source: string): number => compileFuelMin + source.length * compileFuelPerByte

export const tooLong = (source: string): CompileError => {
  const message = `a source has at most ${sourceBytesMax} bytes, this one has ${source.length}`
  return { message, line: 1, column: 1 }
}

export const sourceBytesMax = 64 << 10

// The compiler takes 3 units a byte for plain code and 31 for one chain of 2,000 elseifs; 68 where 190 locals are searched
// for each name. What is quadratic by design (2,000 jumps to one label, `x or x or …`) takes 300, and is refused: a source
// of 64 KiB has some 20 ms.
const compileFuelPerByte = 80 // units

const compileFuelMin = 50_000 // units; for the environment, and for sources too short to be slow

const nameMax = 59 // characters; Lua's LUA_IDSIZE less its zero
