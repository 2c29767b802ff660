/** The two wasm modules, compiled once a process, and what they export. */
import { existsSync, readFileSync } from "node:fs"
import { type WasmMemory, type WasmModule, type WasmTable, WebAssembly } from "./webassembly.ts"

/** A pointer into the machine's memory, or Lua's state behind one. */
export type Pointer = number

/** What we call of Lua's C API: the names of lua.h and lauxlib.h. */
export interface LuaExports {
  readonly memory: WasmMemory
  readonly __indirect_function_table: WasmTable
  readonly __wasm_call_ctors: () => void
  readonly emscripten_stack_get_base: () => Pointer
  readonly emscripten_stack_get_end: () => Pointer
  readonly stackSave: () => Pointer
  readonly stackRestore: (to: Pointer) => void
  readonly setThrew: (threw: number, value: number) => void
  readonly malloc: (bytes: number) => Pointer
  readonly free: (block: Pointer) => void
  readonly lua_newstate: (alloc: number, ud: Pointer) => Pointer
  readonly lua_checkstack: (L: Pointer, slots: number) => number
  readonly lua_gettop: (L: Pointer) => number
  readonly lua_settop: (L: Pointer, index: number) => void
  readonly lua_absindex: (L: Pointer, index: number) => number
  readonly lua_copy: (L: Pointer, from: number, to: number) => void
  readonly lua_pushvalue: (L: Pointer, index: number) => void
  readonly lua_type: (L: Pointer, index: number) => number
  readonly lua_isinteger: (L: Pointer, index: number) => number
  readonly lua_toboolean: (L: Pointer, index: number) => number
  readonly lua_tonumberx: (L: Pointer, index: number, isNumber: Pointer) => number
  readonly lua_tointegerx: (L: Pointer, index: number, isNumber: Pointer) => bigint
  readonly lua_tolstring: (L: Pointer, index: number, length: Pointer) => Pointer
  readonly lua_topointer: (L: Pointer, index: number) => Pointer
  readonly lua_touserdata: (L: Pointer, index: number) => Pointer
  readonly lua_tocfunction: (L: Pointer, index: number) => number
  readonly lua_rawlen: (L: Pointer, index: number) => number
  readonly lua_getmetatable: (L: Pointer, index: number) => number
  readonly lua_rawgetp: (L: Pointer, index: number, key: Pointer) => number
  readonly lua_next: (L: Pointer, index: number) => number
  readonly lua_pushnil: (L: Pointer) => void
  readonly lua_pushlightuserdata: (L: Pointer, to: Pointer) => void
  readonly lua_pushlstring: (L: Pointer, bytes: Pointer, length: number) => Pointer
  readonly lua_pushcclosure: (L: Pointer, index: number, upvalues: number) => void
  readonly lua_newthread: (L: Pointer) => Pointer
  readonly lua_resetthread: (L: Pointer, from: Pointer) => number
  readonly lua_getstack: (L: Pointer, level: number, debug: Pointer) => number
  readonly lua_getinfo: (L: Pointer, what: Pointer, debug: Pointer) => number
  readonly lua_createtable: (L: Pointer, array: number, hash: number) => void
  readonly lua_getglobal: (L: Pointer, name: Pointer) => number
  readonly lua_getfield: (L: Pointer, index: number, name: Pointer) => number
  readonly lua_setfield: (L: Pointer, index: number, name: Pointer) => void
  readonly lua_rawset: (L: Pointer, index: number) => void
  readonly lua_setupvalue: (L: Pointer, index: number, upvalue: number) => Pointer
  readonly lua_load: (L: Pointer, reader: number, data: Pointer, name: Pointer, mode: Pointer) => number
  readonly lua_callk: (L: Pointer, args: number, results: number, context: number, k: number) => void
  readonly lua_pcallk: (
    L: Pointer,
    args: number,
    results: number,
    handler: number,
    context: number,
    k: number
  ) => number
  readonly luaL_loadbufferx: (L: Pointer, bytes: Pointer, length: number, name: Pointer, mode: Pointer) => number
  readonly luaL_requiref: (L: Pointer, name: Pointer, open: number, isGlobal: number) => void
  readonly luaL_ref: (L: Pointer, table: number) => number
  readonly luaopen_base: (L: Pointer) => number
  readonly luaopen_coroutine: (L: Pointer) => number
  readonly luaopen_debug: (L: Pointer) => number
  readonly luaopen_math: (L: Pointer) => number
  readonly luaopen_string: (L: Pointer) => number
  readonly luaopen_table: (L: Pointer) => number
  readonly luaopen_utf8: (L: Pointer) => number
}

/** What `shim.wat` exports; its comments say what each does. */
export interface ShimExports {
  readonly setup: (
    L: Pointer,
    hook: number,
    resume: number,
    wrap: number,
    close: number,
    collect: number,
    unwind: number,
    timeoutRef: number,
    memoryRef: number
  ) => void
  readonly setupScripts: (
    thread: Pointer,
    enter: number,
    leave: number,
    resumeAgain: number,
    unwindAgain: number,
    answered: number
  ) => void
  readonly fire: (
    program: number,
    mask: number,
    fresh: number,
    fuelMax: number,
    bytesMax: number,
    results: number
  ) => number
  readonly alloc: () => number
  readonly collect: (word: number, kilobytes: number) => number
  readonly arm: () => void
  readonly tick: () => void
  readonly note: () => void
  readonly threw: (units: number) => void
  readonly resume: () => number
  readonly close: () => number
  readonly wrap: () => number
  readonly unwind: () => number
  readonly resumeAgain: () => number
  readonly unwindAgain: () => number
  readonly pausable: () => number
  readonly go: (isFirst: number) => number
  readonly enter: () => number
  readonly leave: () => number
  readonly answered: () => number
  readonly mark: () => number
  readonly refuel: (units: number) => number
  readonly charge: (units: number) => number
  readonly read: () => Pointer
  readonly rawgeti: (L: Pointer, table: number, index: number) => number
  readonly rawseti: (L: Pointer, table: number, index: number) => void
  readonly [host: `host${number}`]: () => number
}

/** The metered Lua and the shim, as `.tools/wasm.mjs` made them. Compiled at the first call. */
export const loadModules = (): { readonly lua: WasmModule; readonly shim: WasmModule } => {
  modules ??= { lua: compile("lua.wasm"), shim: compile("shim.wasm") }
  return modules
}

let modules: { readonly lua: WasmModule; readonly shim: WasmModule } | undefined

const compile = (name: string): WasmModule => {
  const file = new URL(`../../../dist/wasm/${name}`, import.meta.url) // the same from src and from dist
  if (!existsSync(file))
    throw new Error(`${name} is not there: run "npm run build" first (looked for ${file.pathname})`)
  return new WebAssembly.Module(readFileSync(file))
}
