/**
 * Values between Lua and JavaScript: plain data only, copied, within limits of depth and size. No object of one side is
 * ever seen by the other.
 *
 * | Lua                         | JavaScript                                                             |
 * |-----------------------------|------------------------------------------------------------------------|
 * | nil, booleans               | `null`, booleans                                                       |
 * | null within a table         | `null`; a light userdata in Lua. Nil, unless the host asks to keep it  |
 * | the empty array             | an array without items, which arrives as an empty table; userdata too  |
 * | integers                    | integral numbers; `bigint` past 2^53                                   |
 * | floats                      | numbers; a frozen `Number` object where a number would be an integer,  |
 * |                             | such as 1.0, so that it goes back as the float that it was             |
 * | a string by itself          | a latin1 string, one character a byte                                  |
 * | a string within a table     | text, UTF-8 both ways; a `Uint8Array` when it is no UTF-8              |
 * | a table with keys 1..n      | an array                                                               |
 * | a table with text as keys   | an object without a prototype; the empty table too                     |
 * | any other table             | a `Map`                                                                |
 *
 * Metatables are not asked, but for one thing: a table that we have frozen crosses as what it stands for.
 *
 * Functions, coroutines and cycles are refused, with the path to them. To Lua a value travels as bytes in the arena, from
 * which the shim builds it inside the run, so that a refusal of memory there is an ordinary one.
 */

import { constant, frozenKey, lua as luaNumbers, tag } from "./internal/layout.ts"
import type { Memory } from "./internal/memory.ts"
import type { LuaExports, Pointer } from "./internal/wasm.ts"

/** What can cross. */
export type LuaValue =
  | null
  | boolean
  | number
  | bigint
  | WholeFloat
  | string
  | Uint8Array
  | ReadonlyArray<LuaValue>
  | { readonly [key: string]: LuaValue }
  | ReadonlyMap<LuaValue, LuaValue>

/**
 * A Lua float that is a whole number, such as 1.0: a frozen `Number` object, to arithmetic and JSON a number like any
 * other. Who keeps values makes the same objects by itself (the kernel's `WholeFloat`), as neither room imports the other.
 */
// biome-ignore lint/complexity/noBannedTypes: the object is meant, not the primitive
export type WholeFloat = Number

/** Why a value does not cross, and where in it the reason is: `payload.items[3].callback`. */
export class Refusal {
  readonly reason: "function" | "thread" | "userdata" | "cycle" | "depth" | "size" | "object" | "key" | "range" | "fuel"
  readonly path: string
  readonly message: string

  constructor(reason: Refusal["reason"], path: string, message: string) {
    this.reason = reason
    this.path = path
    this.message = `${path} ${message}`
  }
}

export interface CodecLimits {
  /** Tables within tables. Default 16. */
  readonly depthMax: number
  /** Tables and leaves together. Default 10,000. */
  readonly nodesMax: number
  /** Bytes of all strings together. Default 1 MiB. */
  readonly bytesMax: number
}

export const defaultCodecLimits: CodecLimits = { depthMax: 16, nodesMax: 10_000, bytesMax: 1 << 20 }

/** Takes fuel for work to come; false when the run that asks for it has no more. */
export type Spend = (units: number) => boolean

/** A unit of fuel for 32 bytes that are copied as they are; 1 MiB takes 30 to 120 µs, the price is 131. */
export const crossingShift = 5

const textShift = 3 // a unit for 8 bytes that are read or written as UTF-8

// Units; a µs is 250. Most of what an object takes is V8 listing its keys.
const decodeFuel = 12 // a node
const floatFuel = 30 // a float that is a whole number, beside its node: it is an object
const textFuel = 60 // a text that is decoded, beside its node: nearly all are keys, and an object is made of those
const encodeFuel = 4 // a node
const keyFuel = 22 // a key of an object that is encoded, beside its node

/**
 * What had more parts than a limit: V8 lists all keys of an object or none (20,000 take 2 ms), so that is done once for
 * each. Frozen values only, which cannot shrink.
 */
const refusedAt = new WeakMap<object, number>()

const freeBytes = 256 // of a string; what the price of a node covers

const nodesAtOnce = 32 // nodes that are paid for together, and in advance: some 4 µs of work

export class LuaCodec {
  private readonly memory: Memory
  private readonly lua: LuaExports
  private readonly spend: Spend
  private readonly limits: CodecLimits
  private readonly length: Pointer
  private nodes = 0
  private bytes = 0
  /** The tables or objects that enclose the one at hand. */
  private readonly enclosing: Array<unknown> = []
  private name = ""
  /** From the value to the part at hand; made a text of when there is something to say about it. */
  private readonly path: Array<LuaValue> = []
  private fuelPerNode = 0
  private isTooLarge = false
  private keepsNull = false

  constructor(memory: Memory, lua: LuaExports, spend: Spend, length: Pointer, limits: CodecLimits) {
    this.memory = memory
    this.lua = lua
    this.spend = spend
    this.length = length
    this.limits = limits
  }

  // ---- Lua → JavaScript

  /** The value at this index of Lua's stack, which is left as it was. `name` begins the path of a refusal. */
  decode(L: Pointer, index: number, name: string): LuaValue | Refusal {
    const type = this.lua.lua_type(L, index)
    if (type === luaNumbers.typeString) {
      const at = this.lua.lua_tolstring(L, index, this.length)
      const length = this.memory.view.getInt32(this.length, true)
      if (!this.spend(length >> crossingShift)) return new Refusal("fuel", name, overReason)
      return this.memory.readLatin1(at, length)
    }
    if (type === luaNumbers.typeNumber || type === luaNumbers.typeBoolean || type === luaNumbers.typeNil) {
      this.begin(name, 0) // what the price of a call covers
      return this.read(L, index)
    }
    this.begin(name, decodeFuel)
    if (this.lua.lua_checkstack(L, 4 * this.limits.depthMax + 8) === 0) {
      return new Refusal("size", name, "is too deep for the stack")
    }
    const top = this.lua.lua_gettop(L)
    const value = this.read(L, this.lua.lua_absindex(L, index))
    this.lua.lua_settop(L, top)
    return value
  }

  private read(L: Pointer, index: number): LuaValue | Refusal {
    const refusal = this.enter()
    if (refusal !== undefined) return refusal
    const { lua } = this
    switch (lua.lua_type(L, index)) {
      case luaNumbers.typeNil:
        return null
      case luaNumbers.typeBoolean:
        return lua.lua_toboolean(L, index) !== 0
      case luaNumbers.typeNumber:
        return this.readNumber(L, index)
      case luaNumbers.typeString:
        return this.readText(L, index)
      case luaNumbers.typeTable:
        return this.readTable(L, index)
      case luaNumbers.typeLightUserdata:
        return this.readConstant(lua.lua_touserdata(L, index))
      case 6:
        return this.refuse("function", "is a function")
      case 8:
        return this.refuse("thread", "is a coroutine")
      default:
        return this.refuse("userdata", "is no plain value")
    }
  }

  private readConstant(of: Pointer): LuaValue | Refusal {
    if (of === constant.null) return null
    return of === constant.emptyArray ? emptyArray : this.refuse("userdata", "is no plain value")
  }

  private readNumber(L: Pointer, index: number): number | bigint | WholeFloat | Refusal {
    if (this.lua.lua_isinteger(L, index) === 0) {
      const float = this.lua.lua_tonumberx(L, index, 0)
      if (!Number.isSafeInteger(float) || Object.is(float, -0)) return float
      return this.spend(floatFuel) ? Object.freeze(Object(float)) : this.refuse("fuel", overReason)
    }
    const number = this.lua.lua_tonumberx(L, index, 0) // exact up to 2^53; a bigint costs an allocation
    return Number.isSafeInteger(number) ? number : this.lua.lua_tointegerx(L, index, 0)
  }

  private readText(L: Pointer, index: number): string | Uint8Array | Refusal {
    const at = this.lua.lua_tolstring(L, index, this.length)
    const length = this.memory.view.getInt32(this.length, true)
    this.bytes += length
    if (this.bytes > this.limits.bytesMax) {
      return this.refuse("size", `has strings of more than ${this.limits.bytesMax} bytes`)
    }
    if (!this.spend(textFuel + (length >> textShift))) return this.refuse("fuel", overReason)
    return this.memory.readUtf8(at, length) ?? this.memory.copy(at, length)
  }

  private readTable(L: Pointer, given: number): LuaValue | Refusal {
    const { lua } = this
    const index = this.behindFrozen(L, given)
    const identity = lua.lua_topointer(L, index)
    if (this.enclosing.includes(identity)) return this.refuse("cycle", "contains itself")
    if (this.enclosing.length >= this.limits.depthMax) {
      return this.refuse("depth", `is nested deeper than ${this.limits.depthMax}`)
    }
    this.enclosing.push(identity)
    const keys: Array<LuaValue> = []
    const values: Array<LuaValue> = []
    let isArray = true // keys 1..n, in whatever order
    let isObject = true // text keys
    let highest = 0
    lua.lua_pushnil(L)
    while (lua.lua_next(L, index) !== 0) {
      const top = lua.lua_gettop(L)
      const key = this.read(L, top - 1)
      if (key instanceof Refusal) return this.refuse("key", `has a key that cannot cross: ${key.message}`)
      if (typeof key === "object" && !(key instanceof Uint8Array)) return this.refuse("key", "has a table as a key")
      this.path.push(key)
      const value = this.read(L, top)
      if (value instanceof Refusal) return value
      this.path.pop()
      if (typeof key === "number" && key > 0 && Number.isInteger(key)) {
        isObject = false
        if (key > highest) highest = key
      } else {
        isArray = false
        if (typeof key !== "string") isObject = false
      }
      keys.push(key)
      values.push(value)
      lua.lua_settop(L, top - 1)
    }
    this.enclosing.pop()
    if (keys.length === 0 || isObject) return toObject(keys, values)
    if (isArray && highest === keys.length) return toArray(keys, values)
    return new Map(keys.map((key, i) => [key, values[i] as LuaValue]))
  }

  /** Where the table stands that this one stands for, as frozen ones do: it is pushed then. Else the table itself. */
  private behindFrozen(L: Pointer, index: number): number {
    const { lua } = this
    if (lua.lua_getmetatable(L, index) === 0) return index
    if (lua.lua_rawgetp(L, -1, frozenKey) === luaNumbers.typeTable) return lua.lua_gettop(L)
    lua.lua_settop(L, -3)
    return index
  }

  // ---- JavaScript → Lua

  /**
   * Writes the value's bytes at `at`, for the shim to build. Answers the address after them, or why it does not cross.
   * `keepsNull`: what is null within it arrives as null, not as nil.
   */
  encode(at: Pointer, value: LuaValue | undefined, name: string, keepsNull = false): Pointer | Refusal {
    const isLeaf = typeof value !== "object" || value === null
    this.begin(name, isLeaf ? 0 : encodeFuel)
    this.keepsNull = keepsNull
    if (typeof value === "string") return this.writeBytes(at, value)
    if (isLeaf) return this.write(at, value)
    if ((refusedAt.get(value) ?? 0) >= this.limits.nodesMax) return this.refuseSize()
    const end = this.write(at, value)
    if (this.isTooLarge && Object.isFrozen(value)) refusedAt.set(value, this.limits.nodesMax)
    return end
  }

  private write(at: Pointer, value: LuaValue | undefined): Pointer | Refusal {
    const refusal = this.enter()
    if (refusal !== undefined) return refusal
    if (at + 16 > this.memory.end) return this.refuse("size", "does not fit")
    const { bytes, view } = this.memory
    switch (typeof value) {
      case "undefined":
        bytes[at] = tag.nil
        return at + 1
      case "boolean":
        bytes[at] = value ? tag.true : tag.false
        return at + 1
      case "number":
        if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
          bytes[at] = tag.integer
          view.setInt32(at + 1, value | 0, true)
          view.setInt32(at + 5, Math.floor(value / 0x1_0000_0000), true)
          return at + 9
        }
        return this.writeFloat(at, value)
      case "bigint":
        if (BigInt.asIntN(64, value) !== value) return this.refuse("range", "is an integer of more than 64 bits")
        bytes[at] = tag.integer
        view.setBigInt64(at + 1, value, true)
        return at + 9
      case "string":
        return this.writeText(at, value)
      case "object":
        if (value === null) {
          bytes[at] = this.keepsNull && this.enclosing.length > 0 ? tag.null : tag.nil
          return at + 1
        }
        if (value instanceof Uint8Array) return this.writeRaw(at, value)
        return value instanceof Number ? this.writeFloat(at, value.valueOf()) : this.writeTable(at, value)
      default:
        return this.refuse("function", `is a ${typeof value}`)
    }
  }

  private writeFloat(at: Pointer, value: number): Pointer {
    this.memory.bytes[at] = tag.number
    this.memory.view.setFloat64(at + 1, value, true)
    return at + 9
  }

  private writeTable(at: Pointer, value: object): Pointer | Refusal {
    if (this.enclosing.includes(value)) return this.refuse("cycle", "contains itself")
    if (this.enclosing.length >= this.limits.depthMax) {
      return this.refuse("depth", `is nested deeper than ${this.limits.depthMax}`)
    }
    this.enclosing.push(value)
    const end = Array.isArray(value)
      ? this.writeArray(at, value)
      : value instanceof Map
        ? this.writeMap(at, value)
        : this.writeObject(at, value)
    if (typeof end === "number") this.enclosing.pop()
    return end
  }

  private writeArray(at: Pointer, value: ReadonlyArray<LuaValue>): Pointer | Refusal {
    if (value.length > this.limits.nodesMax - this.nodes) return this.refuseSize()
    let end: Pointer | Refusal = this.writeHead(at, tag.array, value.length)
    for (let i = 0; i < value.length; i++) {
      this.path.push(i)
      end = this.write(end, value[i])
      if (typeof end !== "number") return end
      this.path.pop()
    }
    return end
  }

  private writeObject(at: Pointer, value: object): Pointer | Refusal {
    const prototype = Object.getPrototypeOf(value)
    if (prototype !== null && prototype !== Object.prototype) return this.refuse("object", "is no plain object")
    const keys = Object.keys(value)
    let end: Pointer | Refusal = this.writeHead(at, tag.map, keys.length)
    if (2 * keys.length > this.limits.nodesMax - this.nodes) return this.refuseSize()
    if (!this.spend(keys.length * keyFuel)) return this.refuse("fuel", overReason)
    for (const key of keys) {
      this.path.push(key)
      end = this.write(end, key)
      if (typeof end !== "number") return end
      end = this.write(end, (value as { readonly [key: string]: LuaValue })[key])
      if (typeof end !== "number") return end
      this.path.pop()
    }
    return end
  }

  private writeMap(at: Pointer, value: ReadonlyMap<LuaValue, LuaValue>): Pointer | Refusal {
    let end: Pointer | Refusal = this.writeHead(at, tag.map, value.size)
    for (const [key, item] of value) {
      const isKey = key !== null && (typeof key !== "object" || key instanceof Uint8Array) && !Number.isNaN(key)
      if (!isKey) return this.refuse("key", `has a key that Lua does not allow: ${String(key)}`)
      this.path.push(key)
      end = this.write(end, key)
      if (typeof end !== "number") return end
      end = this.write(end, item)
      if (typeof end !== "number") return end
      this.path.pop()
    }
    return end
  }

  private writeHead(at: Pointer, kind: number, count: number): Pointer {
    this.memory.bytes[at] = kind
    this.memory.view.setUint32(at + 1, count, true)
    return at + 5
  }

  private writeText(at: Pointer, text: string): Pointer | Refusal {
    if (!this.hasRoom(at, text.length * 3)) return this.refuse("size", "does not fit")
    if (text.length > freeBytes && !this.spend(text.length >> textShift)) return this.refuse("fuel", overReason)
    const length = this.memory.writeUtf8(at + 5, text)
    this.writeHead(at, tag.string, length)
    return at + 5 + length
  }

  private writeBytes(at: Pointer, text: string): Pointer | Refusal {
    if (!this.hasRoom(at, text.length)) return this.refuse("size", "does not fit")
    if (!this.spend(text.length >> crossingShift)) return this.refuse("fuel", overReason)
    this.memory.writeLatin1(at + 5, text)
    return this.writeHead(at, tag.string, text.length) + text.length
  }

  private writeRaw(at: Pointer, value: Uint8Array): Pointer | Refusal {
    if (!this.hasRoom(at, value.length)) return this.refuse("size", "does not fit")
    if (!this.spend(value.length >> crossingShift)) return this.refuse("fuel", overReason)
    this.memory.bytes.set(value, at + 5)
    return this.writeHead(at, tag.string, value.length) + value.length
  }

  private hasRoom(at: Pointer, length: number): boolean {
    this.bytes += length
    return at + 5 + length <= this.memory.end
  }

  /** Counts a table or a leaf, and has it paid for. */
  private enter(): Refusal | undefined {
    const { nodesMax } = this.limits
    if (++this.nodes > nodesMax) return this.refuseSize()
    if (this.nodes % nodesAtOnce === 1 && !this.spend(this.fuelPerNode * nodesAtOnce)) {
      return this.refuse("fuel", overReason)
    }
    return undefined
  }

  private begin(name: string, fuelPerNode: number): void {
    this.nodes = 0
    this.bytes = 0
    this.enclosing.length = 0
    this.path.length = 0
    this.name = name
    this.isTooLarge = false
    this.fuelPerNode = fuelPerNode
  }

  private refuseSize(): Refusal {
    this.isTooLarge = true
    return this.refuse("size", `has more than ${this.limits.nodesMax} parts`)
  }

  private refuse(reason: Refusal["reason"], why: string): Refusal {
    return new Refusal(reason, this.name + this.path.map(stepText).join(""), why)
  }
}

const stepText = (key: LuaValue): string =>
  typeof key === "string" ? `.${key.slice(0, 64)}` : `[${String(key).slice(0, 64)}]`

const emptyArray: ReadonlyArray<LuaValue> = Object.freeze([])

const overReason = "is more than the run has time for"

const toObject = (keys: ReadonlyArray<LuaValue>, values: ReadonlyArray<LuaValue>): LuaValue => {
  const object: Record<string, LuaValue> = Object.create(null) // so that "__proto__" is a key like any other
  for (let i = 0; i < keys.length; i++) object[keys[i] as string] = values[i] as LuaValue
  return object
}

const toArray = (keys: ReadonlyArray<LuaValue>, values: ReadonlyArray<LuaValue>): LuaValue => {
  const array = new Array<LuaValue>(keys.length)
  for (let i = 0; i < keys.length; i++) array[(keys[i] as number) - 1] = values[i] as LuaValue
  return array
}
