/**
 * Random Lua programs of a tenant, and what they do, computed without Lua: a plain model of its keys, its triggers and
 * all that it says. Every value, line, message and error carries the tenant's mark, so that one that turns up with
 * somebody else is known by sight.
 *
 * A function of a program is a list of steps; each is one line of Lua, and one move of the model. `pause` is where a run
 * waits for an answer: the model is a generator that stops there, so that runs of one tenant may be interleaved too.
 */
import type { Nested, Value } from "../../src/kernel/index.ts"
import type { Random } from "./Random.ts"

/** What stands in everything that is a tenant's. */
export const markOf = (name: string): string => `<<${name}>>`

/** The marks in a text that are not this one. */
export const foreignMarks = (text: string, own: string): string[] =>
  (text.match(/<<\w+>>/g) ?? []).filter((mark) => mark !== own)

/** The same for all tenants; some look like another tenant's, or like a way out. */
const keys = [
  "user_count",
  "user",
  "user:1",
  "a",
  "",
  "guarded",
  "tenant_1:user",
  "team:t2:a",
  "..",
  "../a",
  "\0",
  "x".repeat(300)
]
const counters = ["count", "user_hits"]

export interface Step {
  readonly lua: string
  /** What it notes, if anything; a generator because it may wait. */
  readonly act: (model: TenantModel, run: ModelRun) => Generator<void, Nested | undefined, string>
}

export interface ProgramFunction {
  readonly name: string
  readonly steps: readonly Step[]
  /** It leaves its world in a state in which nothing works any more. */
  readonly isWild: boolean
  readonly end: "return" | "error" | "timeout" | "memory"
  /** Of the first step, and of the statement that ends it. */
  readonly firstLine: number
  readonly lastLine: number
}

export interface Program {
  readonly source: string
  readonly functions: readonly ProgramFunction[]
}

/** What a world keeps from run to run. */
export interface ModelWorld {
  leak: string | undefined
}

export interface ModelRun {
  readonly world: ModelWorld
  readonly script: string
  /** It may wait, and has `me`. */
  readonly isOfLibrary: boolean
  /** Where it stands. */
  line: number
}

export type Ended =
  | { readonly value: Value }
  /** The tag of the error, and its message where that is known. */
  | { readonly tag: string; readonly message?: string }

const object = (fields: Readonly<Record<string, Nested>>): Nested => Object.assign(Object.create(null), fields)

const luaText = (text: string): string => `"${[...Buffer.from(text)].map(luaByte).join("")}"`

const luaByte = (byte: number): string => {
  const isPlain = byte >= 32 && byte < 127 && byte !== 34 && byte !== 92 // a quote, a backslash
  return isPlain ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, "0")}`
}

const luaOf = (value: Nested): string => {
  if (value === null) return "nil"
  if (typeof value === "string") return luaText(value)
  if (Array.isArray(value)) return `{ ${value.map((item) => luaOf(item as Nested)).join(", ")} }`
  if (typeof value === "object") {
    const fields = Object.entries(value as Record<string, Nested>)
    return `{ ${fields.map(([name, item]) => `[${luaText(name)}] = ${luaOf(item)}`).join(", ")} }`
  }
  return String(value)
}

/** Which triggers a tenant has. */
export interface OwnTriggers {
  readonly onWrite: boolean
  readonly onExpire: boolean
  readonly onDelete: boolean
  readonly beforeWrite: boolean
}

export const triggersOf = (own: OwnTriggers, mark: string) => [
  ...(own.onWrite
    ? [
        {
          ...{ name: "seen", pattern: "user*", events: ["ON_WRITE"] as const },
          source: `
            cache.set("seen:" .. event.key, event.value == nil and "nil" or event.value)
            cache.emit("changed", "${mark} " .. event.key)
            local other = cache.get("a")
            cache.log("audit", "${mark} saw " .. event.key .. " beside " .. (type(other) == "string" and other or type(other)))
            runs = (runs or "${mark}") .. "."
            print(runs:sub(1, ${mark.length + 1}))`
        }
      ]
    : []),
  ...(own.onExpire
    ? [
        {
          ...{ name: "gone", pattern: "*", events: ["ON_EXPIRE"] as const },
          source: `cache.set("gone:" .. event.key, "${mark}") cache.emit("expired", { key = event.key, mark = "${mark}" })`
        }
      ]
    : []),
  ...(own.onDelete
    ? [{ ...{ name: "fails", pattern: "*", events: ["ON_DELETE"] as const }, source: `error("${mark} " .. event.key)` }]
    : []),
  ...(own.beforeWrite
    ? [
        {
          ...{ name: "guard", pattern: "guarded", events: ["BEFORE_WRITE"] as const },
          source: `if type(event.value) == "string" then cache.reject("not for ${mark}") end`
        }
      ]
    : [])
]

interface ModelEntry {
  value: Value
  expiresAtMs: number
}

export class TenantModel {
  readonly entries = new Map<string, ModelEntry>()
  /** Of its script log: the script, the kind, the text. */
  readonly log: Array<readonly [string, string, string]> = []
  /** What is said on its channels, as `channel payload`. */
  readonly messages: string[] = []
  /** Of TRIGGER LOG: the trigger, the event, the key, the message. */
  readonly records: Array<readonly [string, string, string, string]> = []
  readonly streams: Record<string, string[]> = { audit: [], default: [] }

  constructor(
    readonly mark: string,
    readonly triggers: OwnTriggers,
    public nowMs: number
  ) {}

  /** What remains after so much time. */
  pass(nowMs: number): void {
    this.nowMs = nowMs
    const due = [...this.entries].filter(([, { expiresAtMs }]) => expiresAtMs !== 0 && expiresAtMs <= nowMs)
    for (const [key] of due) {
      this.entries.delete(key)
      if (!this.triggers.onExpire) continue
      this.set(`gone:${key}`, this.mark, 0)
      this.messages.push(`expired ${JSON.stringify({ key, mark: this.mark })}`)
    }
  }

  /** Stores it, with what its triggers do; why not, if they refuse. */
  set(key: string, value: Value, expiresAtMs: number): string | undefined {
    if (this.triggers.beforeWrite && key === "guarded" && typeof value === "string") {
      return `rejected by a trigger: not for ${this.mark}`
    }
    this.entries.set(key, { value, expiresAtMs })
    if (this.triggers.onWrite && key.startsWith("user")) {
      this.entries.set(`seen:${key}`, { value: value ?? "nil", expiresAtMs: 0 })
      this.messages.push(`changed ${this.mark} ${key}`)
      this.streams.audit?.push(`${this.mark} saw ${key} beside ${shownOf(this.entries.get("a")?.value)}`)
      this.streams.default?.push(`${this.mark}.`)
    }
    return undefined
  }

  delete(key: string): boolean {
    const wasThere = this.entries.delete(key)
    if (wasThere && this.triggers.onDelete) {
      this.records.push(["fails", "ON_DELETE", key, `line 1: ${this.mark} ${key}`])
    }
    return wasThere
  }

  /** Runs a function; stops where it waits. */
  *run(
    { steps, isWild, end, name, firstLine, lastLine }: ProgramFunction,
    run: ModelRun
  ): Generator<void, Ended, string> {
    const { world, script, isOfLibrary } = run
    const seen: Nested[] = [world.leak ?? "nil", "nil"]
    world.leak = this.mark
    for (const [i, step] of steps.entries()) {
      run.line = firstLine + i
      const noted = yield* step.act(this, run)
      if (noted !== undefined) seen.push(noted ?? "nil")
    }
    if (end === "timeout") return { tag: "ScriptTimeout" }
    if (end === "memory") return { tag: "ScriptOutOfMemory" }
    if (end === "error") return { tag: "ScriptRuntimeError", message: `${script}:${lastLine}: ${name} of ${this.mark}` }
    return { value: [this.mark, isOfLibrary ? this.mark : "nil", isWild, seen] as unknown as Value }
  }
}

const shownOf = (value: Value | undefined): string => {
  if (value === undefined || value === null) return "nil"
  return typeof value === "object" ? "table" : typeof value === "string" ? value : typeof value
}

/** A program with so many functions. */
export const randomProgram = (random: Random, mark: string, count: number): Program => {
  const lines = [
    "local seen, n",
    'local function note(v) n = n + 1 if v == nil then v = "nil" end seen[n] = v end',
    "local function pause(v) if wait then return wait(v) end end"
  ]
  const functions: ProgramFunction[] = []
  for (let f = 1; f <= count; f++) {
    const fn = `f${f}`
    const steps = Array.from({ length: random.between(2, 8) }, (_, i) => randomStep(random, mark, `${f}.${i}`))
    const isWild = random.oneIn(4)
    const end = random.oneIn(8) ? "error" : random.oneIn(60) ? "timeout" : random.oneIn(60) ? "memory" : "return"
    const firstLine = lines.length + 3
    lines.push(
      `function ${fn}()`,
      `  seen, n = {}, 0 note(leak) note(string.leak) leak = "${mark}"`,
      ...steps.map(({ lua }) => `  ${lua}`)
    )
    if (isWild) lines.push(`  ${random.pick(wild).replaceAll("MARK", mark)}`)
    const lastLine = lines.length + 1
    if (end === "error") lines.push(`  error("${fn} of " .. secret)`)
    else if (end === "timeout") lines.push(`  while true do leak = secret end`)
    else if (end === "memory") lines.push(`  local s = secret while true do s = s .. s end`)
    else lines.push(`  return { secret, me or "nil", ${isWild}, seen }`)
    lines.push("end")
    functions.push({ name: fn, steps, isWild, end, firstLine, lastLine })
  }
  return { source: lines.join("\n"), functions }
}

/** What a program may do to its own world, and to no other. */
const wild = [
  'cache = { get = function() return "MARK" end, put = function() return "MARK" end }',
  'print, pcall, type, next = nil, nil, nil, function() return "MARK" end',
  'string = { leak = "MARK" } table = nil math = nil json = nil',
  'for name in pairs(_G) do if #name > 6 then _G[name] = "MARK" end end secret = "MARK"'
]

/** What it may try on what all worlds begin with. */
const tampering = [
  'pcall(function() string.leak = "MARK" end)',
  'pcall(function() getmetatable("").__index = { leak = "MARK" } end)',
  'pcall(function() getmetatable("").leak = "MARK" end)',
  'pcall(rawset, string, "leak", "MARK")',
  'pcall(setmetatable, string, { __index = function() return "MARK" end })',
  'pcall(function() cache.leak = "MARK" math.pi = "MARK" coroutine.leak = "MARK" end)',
  'pcall(function() string.format = function() return "MARK" end end)'
]

const quiet = (lua: string, act: (model: TenantModel, run: ModelRun) => Nested | undefined): Step => ({
  lua,
  // biome-ignore lint/correctness/useYield: most steps do not wait
  *act(model, run) {
    return act(model, run)
  }
})

const randomStep = (random: Random, mark: string, place: string): Step => {
  const key = random.pick(keys)
  const k = luaText(key)
  const counter = random.pick(counters)
  const value = randomValue(random, mark, place)
  const v = luaOf(value)
  const seconds = random.pick([0.05, 0.2, 1.5, 30])
  const deadline = ({ nowMs }: TenantModel): number => nowMs + Math.round(seconds * 1000)
  const stored = (model: TenantModel, { script }: ModelRun, name: string, expiresAtMs: number): boolean => {
    const refused = model.set(key, value, expiresAtMs)
    if (refused !== undefined) model.log.push([script, "refused", `cache.${name}: ${refused}`])
    return refused === undefined
  }
  switch (random.below(20)) {
    case 0:
    case 1:
    case 2:
      return quiet(`note(cache.put(${k}, ${v}))`, (model, run) => stored(model, run, "put", 0))
    case 3:
    case 4:
      return quiet(`note(cache.put_ttl(${k}, ${v}, ${seconds}))`, (model, run) =>
        stored(model, run, "put_ttl", deadline(model))
      )
    case 5:
      return quiet(`note(cache.get(${k}))`, ({ entries }) => entries.get(key)?.value ?? null)
    case 6:
    case 7: {
      const other = random.pick(["seen:user", "gone:a", "gone:user_count", "seen:user_count", key])
      return quiet(`note(cache.get(${luaText(other)}, "none of ${mark}"))`, ({ entries }) =>
        entries.has(other) ? (entries.get(other)?.value ?? null) : `none of ${mark}`
      )
    }
    case 8:
      return quiet(`note(cache.delete(${k}))`, (model) => model.delete(key))
    case 9:
      return quiet(`note(cache.has(${k}))`, ({ entries }) => entries.has(key))
    case 10: {
      const by = random.between(-3, 9)
      return quiet(`note(cache.incr("${counter}", ${by}))`, (model) => {
        const before = model.entries.get(counter)
        const sum = ((before?.value ?? 0) as number) + by
        model.set(counter, sum, before?.expiresAtMs ?? 0)
        return sum
      })
    }
    case 11:
      return quiet(`cache.put("a", ${luaText(mark)}) note(cache.incr("a"))`, (model, { script }) => {
        model.set("a", mark, 0)
        model.log.push([script, "refused", "cache.incr: 'a' holds no integer"])
        return null
      })
    case 12: {
      const prefix = random.pick(["", "user", "seen:", "tenant_", "t", ".."])
      const limit = random.pick([3, 100])
      return quiet(`note(table.concat(cache.keys("${prefix}", ${limit}), "|"))`, ({ entries }) =>
        [...entries.keys()]
          .filter((each) => each.startsWith(prefix))
          .sort()
          .slice(0, limit)
          .join("|")
      )
    }
    case 13:
      return quiet(`note(tostring(cache.ttl(${k})))`, ({ entries, nowMs }) => {
        const { expiresAtMs } = entries.get(key) ?? { expiresAtMs: 0 }
        if (expiresAtMs === 0) return "nil"
        const left = (expiresAtMs - nowMs) / 1000
        return Number.isInteger(left) ? `${left}.0` : String(left)
      })
    case 14:
      return quiet(`note(cache.touch(${k}, ${seconds}))`, (model) => {
        const entry = model.entries.get(key)
        if (entry !== undefined) entry.expiresAtMs = deadline(model)
        return entry !== undefined
      })
    case 15:
      return quiet(`print(secret, ${k}, "${place}")`, (model, { script }) => {
        model.log.push([script, "print", `${mark}\t${key}\t${place}`])
        return undefined
      })
    case 16: {
      const list = v === "nil" ? "false" : v
      return random.oneIn(2)
        ? quiet(`note(json.decode(json.encode({ m = secret, list = { 1, ${list} } })).m)`, () => mark)
        : quiet("note(select(2, pcall(error, { m = secret })).m)", () => mark)
    }
    case 17:
      return quiet(random.pick(tampering).replaceAll("MARK", mark), () => undefined)
    case 18:
      return quiet(`for i = 1, ${random.pick([10, 10_000])} do end`, () => undefined)
    default: {
      const own = `${mark} ${place}`
      const isInside = random.oneIn(2)
      return {
        lua: isInside
          ? `note(coroutine.wrap(function() local a = pause("${own}") cache.put("co", "${own}") return a end)())`
          : `note(pause("${own}")) cache.put("co", "${own}")`,
        *act(model, { isOfLibrary }) {
          const answer = isOfLibrary ? yield : "nil"
          model.set("co", own, 0)
          return answer
        }
      }
    }
  }
}

const randomValue = (random: Random, mark: string, place: string): Value => {
  switch (random.below(6)) {
    case 0:
      return random.between(-5, 1_000_000)
    case 1:
      return object({ m: mark, list: [1, `${mark} ${place}`, object({ deep: mark })], [mark]: true }) as Value
    case 2:
      return random.oneIn(4) ? null : [mark, random.oneIn(2)]
    default:
      return `${mark} ${place}`
  }
}
