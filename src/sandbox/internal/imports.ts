/**
 * What Lua's wasm may ask of the world: next to nothing. The import object is the sandbox: what is not in it cannot be
 * reached, whatever happens inside.
 *
 * Real are the two that carry Lua's errors (`invoke_vii`, `_emscripten_throw_longjmp`) and the meter. Time stands still,
 * so that Lua's hash seed is the same in each machine; the heap never grows past the memory it was born with; all else
 * answers "no".
 */
import { cell } from "./layout.ts"
import type { LuaExports } from "./wasm.ts"
import { type WasmImports, WebAssembly } from "./webassembly.ts"

/** Ends a run from inside: the machine is dirty after it, and must be rewound before it is called again. */
export class Killed extends Error {
  override readonly name = "Killed"
}

/** A trap of the wasm, or JavaScript's stack, used up. */
export const isTrap = (error: unknown): error is Error =>
  error instanceof WebAssembly.RuntimeError || (error instanceof RangeError && /call stack/.test(error.message))

export interface Caller {
  readonly lua: LuaExports
  /** Of the memory that Lua and the shim share. */
  readonly cells: Int32Array
  exhausted(): void
  /** A Lua error has been thrown; takes its fuel. */
  threw(units: number): void
}

const throwFuel = 1500 // units; a throw through the wasm takes some 5 µs, in which no loop turns

/** Every import that the metered Lua has, by module. A test compares the names with the wasm's own list. */
export const makeImports = (machine: Caller): WasmImports => {
  const bodies: Array<CallableFunction> = [] // out of the function table, where an entry never changes
  const remember = (index: number): CallableFunction => {
    const body = machine.lua.__indirect_function_table.get(index)
    bodies[index] = body
    return body
  }
  return {
    meter: { exhausted: () => machine.exhausted() },
    env: {
      ...all(denied, [
        "__syscall_dup3",
        "__syscall_fcntl64",
        "__syscall_ioctl",
        "__syscall_openat",
        "__syscall_readlinkat",
        "__syscall_renameat",
        "__syscall_rmdir",
        "__syscall_unlinkat",
        "system"
      ]),
      ...all(nothing, [
        "_emscripten_get_now_is_monotonic",
        "_gmtime_js",
        "_localtime_js",
        "_mktime_js",
        "_tzset_js",
        "emscripten_date_now",
        "emscripten_resize_heap",
        "strftime"
      ]),
      abort: kill,
      exit: kill,
      _emscripten_throw_longjmp: () => {
        throw longjmp
      },
      // setjmp as Emscripten has it: a protected call goes out here and in again.
      invoke_vii: (index: number, first: number, second: number) => {
        const { lua, cells } = machine
        const stack = lua.stackSave()
        const depth = cells[cell.depth] as number
        try {
          const body = bodies[index] ?? remember(index)
          body(first, second)
        } catch (error) {
          if (error !== longjmp) throw error
          lua.stackRestore(stack)
          lua.setThrew(1, 0)
          cells[cell.depth] = depth // the coroutines that the error has left no longer run
          machine.threw(throwFuel)
        }
      }
    },
    wasi_snapshot_preview1: all(denied, [
      "environ_get",
      "environ_sizes_get",
      "fd_close",
      "fd_read",
      "fd_seek",
      "fd_write"
    ])
  }
}

/** The token that is thrown for a Lua error, from the place of the error to the protected call. */
const longjmp = { isLongjmp: true }

const denied = (): number => -1

const nothing = (): number => 0

const kill = (): never => {
  throw new Killed("Lua gave up")
}

const all = (answer: () => number, names: ReadonlyArray<string>): Record<string, () => number> =>
  Object.fromEntries(names.map((name) => [name, answer]))
