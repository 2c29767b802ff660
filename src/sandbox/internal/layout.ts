/** The addresses and codes that the shim and the host share. `shim.wat` says what each is for. */

/** Where the arena begins: the host's own memory, above everything that the C heap may reach. */
export const arenaStart = 0xc00000

/** Indices of the cells, as 32-bit words from the arena's start. */
export const cell = {
  used: 0,
  cap: 1,
  denied: 2,
  heapEnd: 3,
  marks: 4,
  length: 5,
  pointer: 6,
  bytes: 7,
  depth: 10,
  fuel: 11,
  line: 12,
  total: 13,
  base: 14,
  cursor: 15,
  bound: 16,
  mode: 17,
  paused: 18,
  answer: 19,
  emergency: 20,
  count: 21,
  entry: 22
} as const

/** The one cell that holds a double, as a 64-bit index from the arena's start. */
export const numberCell = 4

/** Field descriptors: kind, pointer, then a length or a double. */
export const fieldsStart = arenaStart + 4096
export const fieldBytes = 16
export const fieldsMax = 32

export const kind = { nil: 0, string: 1, number: 2, integer: 3, false: 4, true: 5, encoded: 6 } as const

/** Bytes of fields, results and sources, to the end of the memory. */
export const bytesStart = arenaStart + 8192

/** What a host function answers; below `string`, that many results stand on the stack. */
export const answer = {
  string: 16,
  nil: 17,
  true: 18,
  false: 19,
  integer: 20,
  number: 21,
  encoded: 22,
  fail: 23,
  wait: 24
} as const

/** Tags of the encoding in which structured values reach Lua. */
export const tag = { nil: 0, false: 1, true: 2, number: 3, integer: 4, string: 5, array: 6, map: 7, null: 8 } as const

/** Light userdata that stand for what Lua has no value of its own for. */
export const constant = { null: 0, emptyArray: 1 } as const

/**
 * The light userdata under which the metatable of each table that the prelude has frozen holds what it stands for. No
 * program ever has it.
 */
export const frozenKey = 2

/** Places at the bottom of the main stack. */
export const place = { functions: 1, events: 2, environments: 3, event: 4, names: 5 } as const

/** Places at the bottom of a script machine's main stack. */
export const scriptPlace = { thread: 1, environment: 2, chunk: 3, enter: 4, missing: 5 } as const

/** What the hook does. */
export const hookMode = { raise: 0, pause: 1, none: 2 } as const

/** Where the shim has a lua_Debug, and the word for lua_getinfo with all that a traceback needs. */
export const debugAt = arenaStart + 2048
export const tracebackWordAt = arenaStart + 3072 + 4

/** How many host functions the shim has entries for. */
export const hostFunctionsMax = 32

/** Lua's own numbers: lua.h. */
export const lua = {
  registry: -1001000,
  ok: 0,
  errorSyntax: 3,
  errorMemory: 4,
  typeNil: 0,
  typeBoolean: 1,
  typeLightUserdata: 2,
  typeNumber: 3,
  typeString: 4,
  typeTable: 5,
  typeFunction: 6
} as const
