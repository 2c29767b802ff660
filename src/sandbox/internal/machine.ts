/**
 * One Lua state with its shim, booted: libraries frozen, host functions in place, collector stopped, ready for programs.
 * `LuaVm` decides what runs in it and for how long; here is only how it comes to be.
 */
import type { HostFunction } from "../HostCall.ts"
import { makeImports } from "./imports.ts"
import {
  arenaStart,
  bytesStart,
  cell,
  constant,
  frozenKey,
  hostFunctionsMax,
  lua as luaNumbers,
  place,
  scriptPlace
} from "./layout.ts"
import { Memory } from "./memory.ts"
import { prelude, stripper } from "./prelude.ts"
import { scriptPrelude } from "./scriptPrelude.ts"
import { type LuaExports, loadModules, type Pointer, type ShimExports } from "./wasm.ts"
import { WebAssembly } from "./webassembly.ts"

/** What the machine asks while it runs. */
export interface MachineHost {
  /** Fuel has run out: refuel, or throw. */
  exhausted(): void
  /** A host function is called; answers a code of `layout.answer`. */
  call(L: Pointer, id: number, count: number, firstAt: Pointer, firstLength: number): number
}

export interface Machine {
  readonly lua: LuaExports
  readonly shim: ShimExports
  readonly memory: Memory
  readonly L: Pointer
  /** The coroutine that scripts run in; 0 in a machine for triggers. */
  readonly thread: Pointer
  /** By the id with which Lua calls them. */
  readonly functions: ReadonlyArray<HostFunction>
  /** Registry references of the prelude's environment maker (triggers only) and of the words "step", "collect", "setpause". */
  readonly environmentRef: number
  readonly stepRef: number
  readonly collectRef: number
  readonly pauseRef: number
  /** Table index of the shim's byte-wise reader. */
  readonly reader: number
  /** The 32 bytes of math.random's generator. */
  readonly generator: Pointer
  /** Offset of the collector's state byte: 8 between two collections (lgc.h, GCSpause). */
  readonly collectorState: Pointer
  /** … and of the byte that says whether it is stopped (`gcstp`): 0 or 1. */
  readonly collectorStopped: Pointer
}

/**
 * Tables of functions by the name of the global that holds them. A null and an empty array are the values that stand for
 * these in Lua, where a table holds no nil, and an empty one might be either kind: see `LuaCodec`.
 */
export type HostTables = Readonly<Record<string, HostTable>>
export type HostTable = Readonly<Record<string, HostFunction | LuaFunction | null | readonly []>>

/**
 * A function of a host table that is written in Lua, so that work too long for one call into the host can be paused.
 * `source` is a chunk that is given a table of the functions in `host` and returns the function. It is run while the
 * machine boots: it takes what it uses of Lua's libraries into locals then, and finds no globals later. It has no line
 * numbers, so it raises its errors with level 2, at the line that called it.
 */
export interface LuaFunction {
  readonly source: string
  readonly host: Readonly<Record<string, HostFunction>>
}

export interface MachineParts {
  readonly fields: ReadonlyArray<string>
  readonly tables: HostTables
  /** What the prelude itself calls: print, clock, now, date, time, seeded. */
  readonly intrinsics: Readonly<Record<string, HostFunction>>
  readonly bytesMax: number
  /** One environment, a coroutine to run in and a collector at work. Default: a machine for triggers. */
  readonly isForScripts?: boolean
}

export const bootFuel = 0x7fffffff // units; as good as without limit, for what the host does itself

export const makeMachine = (host: MachineHost, parts: MachineParts): Machine => {
  const modules = loadModules()
  // The imports are made before the exports that they need exist.
  const caller = {
    lua: undefined as unknown as LuaExports,
    cells: undefined as unknown as Int32Array,
    exhausted: () => host.exhausted(),
    threw: (units: number) => shim.threw(units)
  }
  const lua = new WebAssembly.Instance(modules.lua, makeImports(caller)).exports as unknown as LuaExports
  caller.lua = lua
  lua.__wasm_call_ctors()
  const shim = new WebAssembly.Instance(modules.shim, {
    glue: lua,
    host: {
      call: (L: Pointer, id: number, count: number, at: Pointer, length: number) => host.call(L, id, count, at, length)
    }
  }).exports as unknown as ShimExports
  const memory = new Memory(lua.memory)
  caller.cells = memory.cells
  memory.cells[cell.cap] = memory.cells[cell.total] = parts.bytesMax
  const table = lua.__indirect_function_table
  memory.cells[cell.heapEnd] = findHeapEnd(lua, memory)
  const index = (f: CallableFunction): number => {
    const at = table.grow(1)
    table.set(at, f)
    return at
  }

  const L = lua.lua_newstate(index(shim.alloc), 0)
  if (L === 0) throw new Error(`no Lua state fits into ${parts.bytesMax} bytes`)
  const say = (text: string, at = bytesStart): Pointer => {
    memory.writeUtf8(at, text)
    return at
  }
  const pushWord = (word: string): void => void lua.lua_pushlstring(L, say(word), word.length)
  const refWord = (word: string): number => {
    pushWord(word)
    return lua.luaL_ref(L, luaNumbers.registry)
  }
  const pushFunction = (at: number): void => lua.lua_pushcclosure(L, at, 0)

  const libraries: ReadonlyArray<readonly [string, CallableFunction]> = [
    ["_G", lua.luaopen_base],
    ["coroutine", lua.luaopen_coroutine],
    ["math", lua.luaopen_math],
    ["string", lua.luaopen_string],
    ["table", lua.luaopen_table],
    ["utf8", lua.luaopen_utf8]
  ]
  for (const [name, open] of libraries) lua.luaL_requiref(L, say(name), index(open), 1)
  lua.lua_settop(L, 0)

  lua.lua_getglobal(L, say("collectgarbage"))
  const collectgarbage = lua.lua_tocfunction(L, -1)
  lua.lua_getglobal(L, say("coroutine"))
  const own = (name: string): number => {
    lua.lua_getfield(L, 2, say(name))
    return lua.lua_tocfunction(L, -1)
  }
  const [resume, wrap, close] = [own("resume"), own("wrap"), own("close")]
  lua.lua_settop(L, 0)
  const timeoutRef = refWord(timeoutMessage)
  const memoryRef = refWord(memoryMessage)
  const unwind = index(shim.unwind)
  shim.setup(L, index(shim.tick), resume, wrap, close, collectgarbage, unwind, timeoutRef, memoryRef)

  // The prelude's arguments, then what it answers.
  const functions: Array<HostFunction> = []
  const ids = new Map<HostFunction, number>()
  const pushHost = (f: HostFunction): void => {
    let at = ids.get(f)
    if (at === undefined) {
      const id = functions.push(f) - 1
      if (id >= hostFunctionsMax) throw new Error(`a machine has entries for ${hostFunctionsMax} host functions`)
      at = index(shim[`host${id}`] as CallableFunction)
      ids.set(f, at)
    }
    pushFunction(at)
  }
  const setField = (name: string): void => lua.lua_setfield(L, -2, say(name))
  const loaderAt = bytesStart + 64
  /** The chunk without its line numbers. */
  const pushChunk = (source: string): void => {
    lua.luaL_loadbufferx(L, loaderAt, memory.writeUtf8(loaderAt, stripper), say("=stripper"), 0)
    lua.lua_pushlstring(L, loaderAt, memory.writeUtf8(loaderAt, source))
    lua.lua_callk(L, 1, 1, 0, 0)
  }
  const pushTable = (table: HostTable): void => {
    lua.lua_createtable(L, 0, 8)
    for (const [name, f] of Object.entries(table)) {
      if (f === null) lua.lua_pushlightuserdata(L, constant.null)
      else if (typeof f === "function") pushHost(f)
      else if (!("source" in f)) lua.lua_pushlightuserdata(L, constant.emptyArray)
      else {
        pushChunk(f.source)
        pushTable(f.host)
        lua.lua_callk(L, 1, 1, 0, 0)
      }
      setField(name)
    }
  }
  const thread = parts.isForScripts === true ? lua.lua_newthread(L) : 0 // it stays on the stack
  pushChunk(thread === 0 ? prelude : scriptPrelude)
  pushFunction(index(lua.luaopen_debug))
  lua.lua_callk(L, 0, 1, 0, 0)
  pushTable(parts.intrinsics)
  lua.lua_createtable(L, 0, 4)
  for (const [name, functionsByName] of Object.entries(parts.tables)) {
    pushTable(functionsByName)
    setField(name)
  }
  setField("tables")
  lua.lua_pushlightuserdata(L, frozenKey)
  setField("frozen")
  pushFunction(index(shim.mark))
  pushFunction(index(shim.resume))
  pushFunction(index(shim.wrap))
  pushFunction(index(shim.close))
  if (thread !== 0) lua.lua_pushvalue(L, scriptPlace.thread)
  if (lua.lua_pcallk(L, thread === 0 ? 6 : 7, thread === 0 ? 2 : 5, 0, 0, 0) !== luaNumbers.ok) {
    throw new Error(`the prelude failed: ${topMessage(lua, memory, L)}`)
  }
  const generator = lua.lua_touserdata(L, -1)
  lua.lua_settop(L, -2)
  const environmentRef = thread === 0 ? lua.luaL_ref(L, luaNumbers.registry) : 0
  const stepRef = refWord("step")
  const collectRef = refWord("collect")
  const pauseRef = refWord("setpause")

  lua.lua_checkstack(L, 64 + parts.fields.length)
  if (thread === 0) {
    for (let at = place.functions; at <= place.environments; at++) lua.lua_createtable(L, 8, 0)
    pushWord("event")
    for (const field of parts.fields) pushWord(field)
  } else {
    const goesOn = [shim.resumeAgain, shim.unwindAgain, shim.answered] as const
    shim.setupScripts(thread, index(shim.enter), index(shim.leave), ...(goesOn.map(index) as [number, number, number]))
  }

  const collectorState = stopEmergencies(memory, L)
  return {
    lua,
    shim,
    memory,
    L,
    thread,
    functions,
    environmentRef,
    stepRef,
    collectRef,
    pauseRef,
    reader: index(shim.read),
    generator,
    collectorState,
    collectorStopped: collectorState + 5
  }
}

/** What the hook raises; a script's pcall sees these words. */
export const timeoutMessage = "timeout"
export const memoryMessage = "not enough memory"

/** The error on the top of the stack as text, without asking it: no metamethod runs. */
export const topMessage = (lua: LuaExports, memory: Memory, L: Pointer): string => {
  const type = lua.lua_type(L, -1)
  if (type === luaNumbers.typeString || type === luaNumbers.typeNumber) {
    const lengthAt = arenaStart + 4 * cell.length
    const at = lua.lua_tolstring(L, -1, lengthAt)
    const length = Math.min(memory.cells[cell.length] as number, messageBytesMax)
    return memory.readUtf8(at, length) ?? memory.readLatin1(at, length)
  }
  if (type === luaNumbers.typeNil) return "nil"
  if (type === luaNumbers.typeBoolean) return lua.lua_toboolean(L, -1) === 0 ? "false" : "true"
  return `(error object is a ${typeNames[type] ?? "strange"} value)` // lua.c's words
}

const messageBytesMax = 4096

const typeNames: Readonly<Record<number, string>> = {
  2: "light userdata",
  5: "table",
  6: "function",
  7: "userdata",
  8: "thread"
}

/**
 * Forbids Lua the collection that it would try when an allocation is refused: a run that is out of memory ends, and this
 * Lua has a use after free on that path. There is no call for it, so the byte is set in the state itself (lstate.h of
 * Lua 5.4.4, `gcstopem`), after making sure that the state looks as we believe. Answers where the collector's own state
 * stands.
 */
const stopEmergencies = (memory: Memory, L: Pointer): Pointer => {
  const { view, cells, bytes } = memory
  const global = view.getUint32(L + 16, true) // l_G
  const total = view.getInt32(global + 8, true) + view.getInt32(global + 12, true) // totalbytes + GCdebt
  const isAsKnown =
    total === cells[cell.used] &&
    bytes[global + 77] === collectorIdle &&
    bytes[global + 79] === 0 &&
    bytes[global + 82] === 1
  if (!isAsKnown || bytes[L + hooksAllowed] !== 1)
    throw new Error("the Lua in lua.wasm is not the 5.4.4 that this host was written for")
  bytes[global + 79] = 1
  cells[cell.emergency] = global + 79 // any other collection sets it back: the shim sets it once more when it refuses
  return global + 77
}

/**
 * Where the C library keeps the end of its heap (sbrk.c): the one word of its static data that moves to a new end when the
 * heap has to grow. All that is allocated, by Lua or not, lies below, and so does whatever that has left.
 */
const findHeapEnd = (lua: LuaExports, memory: Memory): Pointer => {
  const { view } = memory
  const base = lua.emscripten_stack_get_base()
  const end = lua.emscripten_stack_get_end()
  if (heapEndAt !== undefined) {
    lua.free(lua.malloc(probeBytes)) // so that all machines are alike
    return heapEndAt
  }
  const read = () => Array.from({ length: end >> 2 }, (_, i) => view.getUint32(i << 2, true))
  const before = read()
  lua.free(lua.malloc(probeBytes))
  const found = read().flatMap((now, i) => {
    const grown = now - (before[i] as number)
    return now > base && now < arenaStart && grown >= probeBytes && grown < 2 * probeBytes ? [i << 2] : []
  })
  if (found.length !== 1) throw new Error("the C library in lua.wasm is not the one that this host was written for")
  heapEndAt = found[0] as Pointer
  return heapEndAt
}

/** The same in every machine. */
let heapEndAt: Pointer | undefined

const probeBytes = 16 << 10 // more than an empty heap has free

/** Offset in a Lua state of the byte that says whether its hooks may run (lstate.h, `allowhook`). */
export const hooksAllowed = 7

/** The collector between two collections (lgc.h, GCSpause). */
export const collectorIdle = 8
