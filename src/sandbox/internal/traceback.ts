/**
 * Where a script stood when it failed: what luaL_traceback writes, without allocating in Lua, whose memory may be what
 * failed, and of the innermost levels only, since walking a deep stack costs more the deeper one goes.
 */
import { debugAt, tracebackWordAt } from "./layout.ts"
import type { Machine } from "./machine.ts"
import type { Memory } from "./memory.ts"
import type { Pointer } from "./wasm.ts"

/** `line`: of the innermost function of the script `name`, 0 where there is none. */
export const traceback = (machine: Machine, name: string): { readonly text: string; readonly line: number } => {
  const { lua, memory, thread } = machine
  let text = title
  let line = 0
  for (let level = 0; level <= levelsMax; level++) {
    if (lua.lua_getstack(thread, level, debugAt) === 0) break
    if (level === levelsMax) {
      text += "\n\t..."
      break
    }
    lua.lua_getinfo(thread, tracebackWordAt, debugAt)
    const at = memory.view.getInt32(debugAt + debug.currentLine, true)
    const source = readWord(memory, debugAt + debug.shortSource)
    if (line === 0 && at > 0 && source === name) line = at
    const description = describe(memory, source)
    const shown = source === stripped ? "[C]" : source // to a script it is one of Lua's own
    if (description !== undefined) text += `\n\t${shown}:${at > 0 ? `${at}:` : ""} in ${description}`
  }
  return { text: text === title ? "" : text.slice(0, textMax), line }
}

/** What runs at the level that was asked for last; nothing for what only the host knows. */
const describe = (memory: Memory, source: string): string | undefined => {
  const word = (field: number) => readWord(memory, memory.view.getUint32(debugAt + field, true))
  const what = word(debug.what)
  const named = word(debug.nameWhat)
  if (named === "" && (source === stripped || what === "C")) return undefined
  if (named !== "") {
    const name = word(debug.name)
    if (name === stripped) return undefined
    return named === "global" || named === "method" ? `function '${name}'` : `${named} '${name}'`
  }
  if (what === "main") return "main chunk"
  return `function <${source}:${memory.view.getInt32(debugAt + debug.lineDefined, true)}>`
}

const readWord = (memory: Memory, at: Pointer): string => {
  if (at === 0) return ""
  let length = 0
  while (length < wordMax && memory.bytes[at + length] !== 0) length++
  return memory.readUtf8(at, length) ?? memory.readLatin1(at, length)
}

/** Offsets in a lua_Debug (lua.h). */
const debug = { name: 4, nameWhat: 8, what: 12, currentLine: 24, lineDefined: 28, shortSource: 44 } as const

const stripped = "?" // the source of what the prelude defines, and the names in it

const title = "stack traceback:"

const levelsMax = 20

const wordMax = 60 // bytes; LUA_IDSIZE

const textMax = 4096 // characters
