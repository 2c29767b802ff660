/**
 * One call from Lua into the host: its arguments, and what it answers. There is one such object a machine, reused for
 * each call; a host function reads and answers before it returns, and keeps nothing of it.
 *
 * Arguments count from 1, as in Lua. A function that answers nothing returns no value to Lua.
 *
 * @example
 * const get: HostFunction = (call) => {
 *   const value = store.get(call.string(1) ?? "")
 *   if (value === undefined) call.returnNil()
 *   else call.returnString(value)
 * }
 */

import type { EventFrame } from "./EventFrame.ts"
import { answer, arenaStart, cell, lua as luaNumbers, numberCell } from "./internal/layout.ts"
import type { Memory } from "./internal/memory.ts"
import type { LuaExports, Pointer } from "./internal/wasm.ts"
import type { LuaCodec, LuaValue, Spend } from "./LuaCodec.ts"
import { crossingShift, Refusal } from "./LuaCodec.ts"

/**
 * What Lua may call. Whatever it throws is a defect: it goes through the run to the machine's owner. It must not catch
 * what the call's own methods throw: that is how a run which is out of fuel or memory leaves it.
 */
export type HostFunction = (call: HostCall) => void

/** What a script that waits gets instead of an answer: a Lua error with this message, at the line that called. */
export class AnswerError {
  readonly message: string

  constructor(message: string) {
    this.message = message
  }
}

/** A Lua type by its name in Lua; `"none"` where there is no such argument. */
export type LuaKind = "none" | "nil" | "boolean" | "userdata" | "number" | "string" | "table" | "function" | "thread"

export class HostCall {
  /** How many arguments there are. */
  count = 0
  private readonly memory: Memory
  private readonly lua: LuaExports
  private readonly spend: Spend
  private readonly codec: LuaCodec
  private readonly frame: EventFrame
  private L: Pointer = 0
  private firstAt: Pointer = 0
  private firstLength = 0
  private code = 0
  private readonly canWait: (() => boolean) | undefined

  /** `canWait`: whether what runs can be suspended now; left out where nothing ever can. */
  constructor(
    memory: Memory,
    lua: LuaExports,
    spend: Spend,
    codec: LuaCodec,
    frame: EventFrame,
    canWait?: () => boolean
  ) {
    this.memory = memory
    this.lua = lua
    this.spend = spend
    this.codec = codec
    this.frame = frame
    this.canWait = canWait
  }

  /** Calls the function with these arguments and answers the shim's code. For the machine alone. */
  perform(host: HostFunction, L: Pointer, count: number, firstAt: Pointer, firstLength: number): number {
    this.L = L
    this.count = count
    this.firstAt = firstAt
    this.firstLength = firstLength
    this.code = 0
    host(this)
    return this.code
  }

  /**
   * Takes `units` of fuel, before work that grows with what Lua has given: some 250 are a microsecond of it.
   *
   * False when the run has no more. Then the function returns at once, without answering, and the run ends as a timeout.
   * What the methods here do (strings and values, both ways) is charged by them.
   */
  charge(units: number): boolean {
    if (this.spend(units > 0 ? Math.min(units, chargeMax) : 0)) return true
    this.fail(overMessage)
    return false
  }

  kind(index: number): LuaKind {
    return kinds[this.lua.lua_type(this.L, index) + 1] as LuaKind
  }

  /**
   * The bytes of a string (or of a number, as Lua would write it) as latin1; `undefined` for anything else, and for one
   * that the run cannot pay for: it ends as a timeout then, whatever the function makes of it.
   */
  string(index: number): string | undefined {
    if (index === 1 && this.firstAt !== 0) return this.bytes(this.firstAt, this.firstLength)
    if (index > this.count) return undefined
    const type = this.lua.lua_type(this.L, index)
    if (type !== luaNumbers.typeString && type !== luaNumbers.typeNumber) return undefined
    const at = this.lua.lua_tolstring(this.L, index, lengthAt)
    return this.bytes(at, this.memory.cells[cell.length] as number)
  }

  /** A number (or a string that reads as one); `undefined` for anything else. */
  number(index: number): number | undefined {
    const value = this.lua.lua_tonumberx(this.L, index, lengthAt)
    return this.memory.cells[cell.length] === 0 ? undefined : value
  }

  /** Lua's own idea of truth: all but nil, false and what is not there. */
  boolean(index: number): boolean {
    return this.lua.lua_toboolean(this.L, index) !== 0
  }

  /** Any plain value, copied; null where there is no such argument. */
  value(index: number): LuaValue | Refusal {
    return index > this.count ? null : this.codec.decode(this.L, index, `argument ${index}`)
  }

  returnNil(): void {
    this.code = answer.nil
  }

  returnBoolean(value: boolean): void {
    this.code = value ? answer.true : answer.false
  }

  /** Bytes, as a latin1 string. */
  returnString(latin1: string): void {
    const { length } = latin1
    if (!this.hasRoom(length)) this.fail(`a string of ${length} bytes does not fit into the machine`)
    else if (length <= freeBytes || this.charge(length >> crossingShift)) {
      this.put(latin1)
      this.code = answer.string
    }
  }

  /** A Lua float. */
  returnNumber(value: number): void {
    this.memory.doubles[numberCell] = value
    this.code = answer.number
  }

  /** A Lua integer, of at most 2^53 either way. */
  returnInteger(value: number): void {
    this.memory.doubles[numberCell] = value
    this.code = answer.integer
  }

  /** One of its own arguments, as it is: also a function, or the very table. Nil where there is no such argument. */
  returnArgument(index: number): void {
    this.lua.lua_pushvalue(this.L, index)
    this.code = 1
  }

  /**
   * A structured value; one that cannot cross fails the call. `keepsNull`: what is null within it is the codec's null in
   * Lua; else it is nil there, and so not there.
   */
  returnValue(value: LuaValue, keepsNull = false): void {
    const at = this.frame.end
    const end = this.codec.encode(at, value, "result", keepsNull)
    if (end instanceof Refusal) {
      this.fail(end.message)
      return
    }
    this.memory.cells[cell.pointer] = at
    this.code = answer.encoded
  }

  /** Raises a Lua error with this message, at the line that called. */
  fail(message: string): void {
    const text = Buffer.from(message.slice(0, messageMax)).toString("latin1")
    this.put(text)
    this.code = answer.fail
  }

  /**
   * The answer comes later: the script is suspended, and goes on with what `ScriptVm.resume` is given.
   *
   * False where it cannot be suspended: then the function returns at once, without answering and without having begun
   * anything, and Lua raises an error that says so. Throws in a machine that does not run scripts.
   */
  wait(): boolean {
    if (this.canWait === undefined) throw new Error("a host function waits in a machine that does not run scripts")
    if (this.canWait()) {
      this.code = answer.wait
      return true
    }
    this.fail(`nothing can wait ${inescapable}`)
    return false
  }

  private hasRoom(length: number): boolean {
    return this.frame.end + length + messageRoom <= this.memory.end
  }

  private put(latin1: string): void {
    const at = this.frame.end
    const { cells } = this.memory
    cells[cell.pointer] = at
    this.memory.writeLatin1(at, latin1)
    cells[cell.bytes] = latin1.length
  }

  /** What crosses is paid for, or a run could hold the thread with a few calls on a large value. */
  private bytes(at: Pointer, length: number): string | undefined {
    if (length > freeBytes && !this.spend(length >> crossingShift)) return undefined
    return this.memory.readLatin1(at, length)
  }
}

/** Where Lua cannot be suspended; ends a sentence. */
export const inescapable =
  "in a metamethod that a library function calls, in a message handler of xpcall, or in a __close method"

const freeBytes = 256 // what the price of a call covers

const overMessage = "the run is over its limit" // seen by nobody: the next instruction of Lua raises the timeout

const chargeMax = 1 << 30 // units; past any limit, and far from where 32 bits wrap

const messageMax = 4096 // characters

const messageRoom = 4 * messageMax // bytes kept free, so that a refusal can always say why

const lengthAt: Pointer = arenaStart + 4 * cell.length

const kinds: ReadonlyArray<LuaKind> = [
  "none",
  "nil",
  "boolean",
  "userdata",
  "number",
  "string",
  "table",
  "function",
  "userdata",
  "thread"
]
