/** Scripts as a program has them, on real machines. */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Either, Exit, Fiber, Logger, TestClock } from "effect"
import { Supervisor } from "../../src/actor/index.ts"
import type { ScriptError } from "../../src/scripting/index.ts"
import {
  FunctionNotFound,
  InvalidArgument,
  Run,
  ScriptInterrupted,
  ScriptOutOfMemory,
  ScriptQuotaExceeded,
  ScriptRuntimeError,
  ScriptSyntaxError,
  ScriptTimeout
} from "../../src/scripting/index.ts"
import { engineWith } from "./engine.ts"

/** What it gives, or how it fails. */
const outcomeOf = <A, E>(effect: Effect.Effect<A, E>) => Effect.map(Effect.either(effect), Either.merge)

describe("a script", () => {
  it.scoped("is compiled once, shows its functions, and runs with plain values", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`
        local function hidden() end
        function main(a, b) return a + b end
        greet = function(name) return { text = "hello " .. name, n = #name } end
        counter = 0
      `)
      expect(script.functions).toEqual(["main", "greet"])
      expect(yield* script.runMain([2, 3])).toBe(5)
      expect(yield* script.run("greet", ["Jörg"])).toEqual({ text: "hello Jörg", n: 5 })
      expect(engine.stats.runs).toBe(0)
    })
  )

  it.scoped("that Lua cannot read is refused with line and column", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const error = yield* outcomeOf(engine.compile("function main()\n  return 1 +* 2\nend", { name: "sum" }))
      expect(error).toBeInstanceOf(ScriptSyntaxError)
      expect(error).toMatchObject({ script: "sum", line: 2, column: 13 })
    })
  )

  it.scoped("has a new world for each run", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("n = 0 function main() n = n + 1 return n end")
      expect(yield* script.runMain()).toBe(1)
      expect(yield* script.runMain()).toBe(1)
    })
  )

  it.scoped("uses the cache of the prefix that it is run with, and of no other", () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith()
      const script = yield* engine.compile(`
        function put(v) return cache.put("user_count", v) end
        function get() return cache.get("user_count", "none") end
      `)
      yield* script.run("put", [41], { cachePrefix: "tenant_123" })
      yield* script.run("put", [7], { cachePrefix: "tenant_456" })
      expect(yield* script.run("get", [], { cachePrefix: "tenant_123" })).toBe(41)
      expect(yield* script.run("get", [], { cachePrefix: "tenant_456" })).toBe(7)
      expect(yield* script.run("get", [], { cachePrefix: "tenant_789" })).toBe("none")
      expect(tenants.route("tenant_123:user_count")?.keyspace.peek("user_count")?.value).toBe(41)
      const without = yield* outcomeOf(script.run("get"))
      expect(without).toBeInstanceOf(ScriptRuntimeError)
      expect((without as ScriptError).message).toContain("cachePrefix")
    })
  )

  it.scoped("says what went wrong with its name, its line and Lua's traceback", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(
        "local function inner(x)\n  return x.field\nend\nfunction main()\n  return inner(nil) + 1\nend",
        { name: "billing" }
      )
      const error = yield* outcomeOf(script.runMain())
      expect(error).toBeInstanceOf(ScriptRuntimeError)
      expect(error).toMatchObject({ script: "billing", line: 2 })
      expect((error as ScriptRuntimeError).message).toMatch(/^billing:2: attempt to index a nil value/)
      expect((error as ScriptRuntimeError).traceback).toContain("billing:5:")
    })
  )

  it.scoped("that has no such function says which it has", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function check() end")
      const error = yield* outcomeOf(script.runMain())
      expect(error).toBeInstanceOf(FunctionNotFound)
      expect((error as FunctionNotFound).message).toBe("script: there is no function 'main'; it defines check")
    })
  )

  it.scoped("is refused arguments and results that cannot cross, with the path to them", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() return { callback = print } end")
      const given = yield* outcomeOf(script.runMain([{ on: new Date(0) as never }]))
      expect(given).toBeInstanceOf(InvalidArgument)
      expect((given as InvalidArgument).path).toBe("argument 1.on")
      const returned = yield* outcomeOf(script.runMain())
      expect(returned).toBeInstanceOf(InvalidArgument)
      expect((returned as InvalidArgument).path).toBe("result.callback")
      expect(yield* outcomeOf(script.runMain(Array.from({ length: 65 }, () => 1)))).toBeInstanceOf(InvalidArgument)
    })
  )

  it.scoped("is stopped when it computes for too long, and only then", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main(n) local x = 0 for i = 1, n do x = x + i end return x end")
      const options = { limits: { computeMs: 5 } }
      expect(yield* script.runMain([100_000], options)).toBe(5_000_050_000)
      const error = yield* outcomeOf(script.runMain([1e12], options))
      expect(error).toBeInstanceOf(ScriptTimeout)
      expect(error).toMatchObject({ kind: "computing", limitMs: 5, script: "script", line: 1 })
      expect(engine.stats.runs).toBe(0)
    })
  )

  it.scoped("is stopped when it wants more memory than it may have", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() local t = {} for i = 1, 1e7 do t[i] = {} end end")
      const error = yield* outcomeOf(script.runMain([], { limits: { memoryBytes: 1 << 20 } }))
      expect(error).toBeInstanceOf(ScriptOutOfMemory)
      expect(error).toMatchObject({ limitBytes: 1 << 20, script: "script", line: 1 })
    })
  )

  it.scoped("names the line where it stood, in whichever coroutine, when it waits or computes for too long", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith({ machinesMax: 1 })
      const script = yield* engine.compile(`
        local function ask(co)
          if co == "tail" then return coroutine.wrap(function() return later() end)() end -- line 3
          if co then return (coroutine.wrap(function()
            later() -- line 5
          end)()) end
          return (later()) -- line 7
        end
        function main(co) ask(co) ask() end
        function burn()
          coroutine.wrap(function()
            while true do end -- line 12
          end)()
        end`)
      const functions = { later: () => new Promise<null>(() => {}) }
      const run = script.unsafeRun("main", [true], { functions })
      if (!(run instanceof Run)) throw run
      run.interrupt("enough")
      expect(run.error?.message).toBe("script:5: ended because enough")
      const waiting = (co: boolean | string) => script.runMain([co], { functions, limits: { waitMs: 5 } })
      // Both wait at once, so one of them outside of the only machine.
      const [inner, outer, tail] = yield* Effect.all([waiting(true), waiting(false), waiting("tail")].map(outcomeOf), {
        concurrency: "unbounded"
      })
      expect(inner).toMatchObject({ _tag: "ScriptTimeout", kind: "waiting", line: 5 })
      expect(outer).toMatchObject({ _tag: "ScriptTimeout", kind: "waiting", line: 7 })
      expect(tail).toMatchObject({ _tag: "ScriptTimeout", kind: "waiting", line: 3 }) // the coroutine itself has none
      const burnt = yield* outcomeOf(script.run("burn", [], { limits: { computeMs: 3 } }))
      expect(burnt).toMatchObject({ _tag: "ScriptTimeout", kind: "computing", line: 12 })
    })
  )

  it.scoped("repeats its random numbers for a seed, and has others without one", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() return math.random(1 << 50) end")
      const [one, same] = [yield* script.runMain([], { seed: 5 }), yield* script.runMain([], { seed: 5 })]
      expect(one).toBe(same)
      expect(yield* script.runMain([], { seed: 6 })).not.toBe(one)
      expect(yield* script.runMain()).not.toBe(yield* script.runMain())
    })
  )

  it.scoped("reads the time by which entries age", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() return { os.time(), os.date('!%Y-%m-%d') } end")
      yield* TestClock.setTime(86_400_000)
      expect(yield* script.runMain()).toEqual([86_400, "1970-01-02"])
      yield* TestClock.adjust("5 seconds")
      expect(yield* script.runMain()).toEqual([86_405, "1970-01-02"])
    })
  )

  it.scoped("refuses limits, prefixes, names and seeds that are none", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() end")
      const pathOf = (options: object) =>
        Effect.map(outcomeOf(script.runMain([], options)), (error) => (error as InvalidArgument).path)
      expect(yield* pathOf({ limits: { computeMs: -1 } })).toBe("limits.computeMs")
      expect(yield* pathOf({ limits: { memoryBytes: Number.NaN } })).toBe("limits.memoryBytes")
      expect(yield* pathOf({ seed: 0.5 })).toBe("seed")
      expect(yield* pathOf({ env: { cache: 1 } })).toBe("env.cache")
      expect(yield* pathOf({ env: { "no name": 1 } })).toBe("env.no name")
      expect(yield* pathOf({ env: { when: new Date(0) } })).toBe("env.when")
      expect(yield* pathOf({ functions: { now: 5 } })).toBe("functions.now")
      expect(yield* pathOf({ cachePrefix: 5 })).toBe("cachePrefix")
      expect(yield* outcomeOf(script.runMain([], { cachePrefix: "" }))).toMatchObject({ _tag: "InvalidTenant" })
    })
  )
})

describe("what a program gives its scripts", () => {
  it.scoped("are frozen values, over those of the tenant", () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith()
      yield* tenants.create({ id: "t1" })
      yield* tenants.setEnv("t1", "region", "eu")
      yield* tenants.setEnv("t1", "api_token", "tenant's")
      const script = yield* engine.compile(`
        function main() return { region, api_token, settings.depth } end
        function change() settings.depth = 5 end
      `)
      const options = { cachePrefix: "t1", env: { api_token: "secret", settings: { depth: 3 } } }
      expect(yield* script.runMain([], options)).toEqual(["eu", "secret", 3])
      expect(yield* outcomeOf(script.run("change", [], options))).toBeInstanceOf(ScriptRuntimeError)
      expect(options.env.settings.depth).toBe(3)
    })
  )

  it.scoped("are stored, written as JSON and returned as what they stand for, also within a script's own tables", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`
        function store() return cache.put("api", api) and cache.put("both", { mine = 1, given = api }) end
        function load() return { cache.get("api"), cache.get("both") } end
        function text() return json.encode(api.tags) .. json.encode({ api.deep }) end
        function whole() return api end
        function library() return { cache.put("library", string), cache.has("library") } end
        function imitated()
          local asked = 0
          local meta = { __index = { secret = 1 }, __pairs = function() asked = asked + 1 end, [api] = { 1 } }
          return { setmetatable({ own = 1 }, meta), asked }
        end
      `)
      const api = { url: "u", tags: ["a", "b"], deep: { deeper: { deepest: [1, 1.5] } }, empty: {} }
      const options = { cachePrefix: "t1", env: { api } }
      expect(yield* script.run("store", [], options)).toBe(true)
      expect(yield* script.run("load", [], options)).toEqual([api, { mine: 1, given: api }])
      expect(yield* script.run("text", [], options)).toBe('["a","b"][{"deeper":{"deepest":[1,1.5]}}]')
      expect(yield* script.run("whole", [], options)).toEqual(api)
      expect(yield* script.run("library", [], options)).toEqual([false, false])
      expect(yield* script.run("imitated", [], options)).toEqual([{ own: 1 }, 0])
    })
  )

  it.scoped("are functions: their results, their promises, and what they throw as Lua errors", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`
        function main(x)
          local ok, why = pcall(refuse)
          local ok2, why2 = pcall(refuse_later)
          return { double(x), later(x), ok, tostring(why), ok2, tostring(why2), nothing() == nil, query(x) }
        end
      `)
      const functions = {
        double: (x: unknown) => (x as number) * 2,
        later: (x: unknown) => Promise.resolve({ got: x as number }),
        refuse: () => {
          throw new Error("not today")
        },
        refuse_later: () => Promise.reject(new Error("not tomorrow")),
        nothing: () => undefined,
        // biome-ignore lint/suspicious/noThenProperty: what libraries return that make queries is no Promise, and has one
        query: (x: unknown) => ({ then: (answer: (row: number) => void) => answer(x as number) }) as Promise<number>
      }
      const result = (yield* script.runMain([21], { functions })) as unknown[]
      expect(result).toMatchObject([42, { got: 21 }, false, expect.any(String), false, expect.any(String), true, 21])
      expect(result[3]).toContain("not today")
      expect(result[5]).toContain("not tomorrow")
      expect(engine.stats).toMatchObject({ runs: 0, suspended: 0 })
    })
  )

  it.scoped("are not there for anybody else", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() return type(secret) .. type(helper) end")
      const options = { env: { secret: "s" }, functions: { helper: () => 1 } }
      expect(yield* script.runMain([], options)).toBe("stringfunction")
      expect(yield* script.runMain()).toBe("nilnil")
    })
  )
})

describe("a run that waits", () => {
  const waiting = Effect.gen(function* () {
    const services = yield* engineWith()
    const script = yield* services.engine.compile("function main() return ask() end")
    const asked = yield* Deferred.make<void>()
    const functions = {
      ask: () => {
        Deferred.unsafeDone(asked, Effect.void)
        return new Promise<string>(() => {})
      }
    }
    return { ...services, script, asked, functions }
  })

  it.scoped("ends when its fiber is interrupted, and leaves nothing", () =>
    Effect.gen(function* () {
      const { engine, script, asked, functions } = yield* waiting
      const fiber = yield* Effect.fork(script.runMain([], { functions }))
      yield* Deferred.await(asked)
      expect(engine.stats).toMatchObject({ runs: 1, suspended: 1 })
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(engine.stats).toMatchObject({ runs: 0, suspended: 0, queued: 0 })
    })
  )

  it.scoped("ends when its signal fires", () =>
    Effect.gen(function* () {
      const { engine, script, asked, functions } = yield* waiting
      const abort = new AbortController()
      const fiber = yield* Effect.fork(outcomeOf(script.runMain([], { functions, signal: abort.signal })))
      yield* Deferred.await(asked)
      abort.abort()
      expect(yield* Fiber.join(fiber)).toBeInstanceOf(ScriptInterrupted)
      expect(engine.stats.runs).toBe(0)
    })
  )

  it.scoped("ends when its tenant is removed, and the tenant's name is free again", () =>
    Effect.gen(function* () {
      const { engine, tenants, script, asked, functions } = yield* waiting
      yield* tenants.create({ id: "t1" })
      const fiber = yield* Effect.fork(outcomeOf(script.runMain([], { functions, cachePrefix: "t1" })))
      yield* Deferred.await(asked)
      yield* tenants.remove("t1")
      const error = yield* Fiber.join(fiber)
      expect((error as ScriptError).message).toBe("script: ended because its tenant was removed")
      expect(engine.stats.runs).toBe(0)
    })
  )

  it.scoped("lets others run, and is refused where it cannot be suspended", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`
        function main() return ask() end
        function bad()
          local t = setmetatable({}, { __index = function() return ask() end })
          local ok, why = pcall(function() return rawlen("x") .. tostring(t.x) end)
          return tostring(why)
        end
        function quick() return "quick" end
      `)
      let answer: (value: string) => void = () => {}
      const functions = { ask: () => new Promise<string>((resolve) => (answer = resolve)) }
      const fiber = yield* Effect.fork(script.runMain([], { functions }))
      yield* Effect.yieldNow()
      expect(yield* script.run("quick")).toBe("quick")
      answer("here")
      expect(yield* Fiber.join(fiber)).toBe("here")
    })
  )
})

describe("a kept state", () => {
  it.scoped("keeps its globals from run to run, until it is closed", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(
        "n = 0 function main() n = n + 1 return n end function fail() error('no') end"
      )
      const state = yield* script.createState()
      expect(yield* state.runMain()).toBe(1)
      expect(yield* state.runMain()).toBe(2)
      expect(yield* outcomeOf(state.run("fail"))).toBeInstanceOf(ScriptRuntimeError)
      expect(yield* state.runMain()).toBe(3)
      expect(engine.stats.states).toBe(1)
      yield* state.close
      expect(yield* outcomeOf(state.runMain())).toBeInstanceOf(ScriptInterrupted)
      expect(engine.stats).toMatchObject({ states: 0, runs: 0 })
    })
  )

  it.scoped("is a new one after a run that had to be stopped", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(
        "n = 0 function main() n = n + 1 return n end function burn() while true do end end"
      )
      const state = yield* script.createState({ limits: { computeMs: 2 } })
      yield* state.runMain()
      expect(yield* outcomeOf(state.run("burn"))).toBeInstanceOf(ScriptTimeout)
      expect(yield* state.runMain()).toBe(1)
    })
  )

  it.scoped("sees the tenant's environment as it is now", () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith()
      yield* tenants.create({ id: "t1" })
      const script = yield* engine.compile("function main() return level end")
      const state = yield* script.createState({ cachePrefix: "t1" })
      expect(yield* state.runMain()).toBeNull()
      yield* tenants.setEnv("t1", "level", 2)
      expect(yield* state.runMain()).toBe(2)
      yield* tenants.setEnv("t1", "level", 3)
      expect(yield* state.runMain()).toBe(3)
      yield* tenants.setEnv("t1", "level", undefined)
      expect(yield* state.runMain()).toBeNull()
    })
  )

  it.scoped("goes on with its random numbers, or begins where a run asks it to", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile("function main() return math.random(1 << 50) end")
      const [one, other] = [yield* script.createState({ seed: 5 }), yield* script.createState({ seed: 5 })]
      const numbers = [yield* one.runMain(), yield* one.runMain()]
      expect([yield* other.runMain(), yield* other.runMain()]).toEqual(numbers)
      expect(numbers[0]).not.toBe(numbers[1])
      expect(yield* one.runMain([], { seed: 5 })).toBe(numbers[0])
    })
  )

  it.scoped("has its functions and values after it had to be made anew, too", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`
        function main() return { name, double(4) } end
        function burn() while true do end end
      `)
      const functions = { double: (x: unknown) => 2 * (x as number) }
      const state = yield* script.createState({ env: { name: "n" }, functions, limits: { computeMs: 2 } })
      expect(yield* state.runMain()).toEqual(["n", 8])
      expect(yield* state.runMain()).toEqual(["n", 8])
      yield* outcomeOf(state.run("burn"))
      expect(yield* state.runMain()).toEqual(["n", 8])
    })
  )

  it.scoped("is one of as many as there may be", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith({ statesMax: 1 })
      const script = yield* engine.compile("function main() end")
      const state = yield* script.createState()
      expect(yield* outcomeOf(script.createState())).toBeInstanceOf(ScriptQuotaExceeded)
      yield* state.close
      yield* script.createState()
    })
  )
})

describe("the synchronous door", () => {
  it.scoped("answers a run that has ended, or one that can be listened to", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = engine.unsafeCompile("function main(x) return x end function ask_it() return ask() end")
      if (script instanceof ScriptSyntaxError) throw script
      const run = script.unsafeRun("main", ["bytes"])
      expect(run).toBeInstanceOf(Run)
      expect(run).toMatchObject({ isEnded: true, value: "bytes", error: null })
      let answer: (value: string) => void = () => {}
      const functions = { ask: () => new Promise<string>((resolve) => (answer = resolve)) }
      const later = script.unsafeRun("ask_it", [], { functions })
      if (!(later instanceof Run)) throw later
      expect(later.isEnded).toBe(false)
      const ended = new Promise<void>((resolve) => (later.onEnd = resolve))
      answer("later")
      yield* Effect.promise(() => ended)
      expect(later.value).toBe("later")
    })
  )
})

it.scoped("what a tenant's scripts print and are refused is in its log alone, with the script's name", () =>
  Effect.gen(function* () {
    const { engine, tenants, bus } = yield* engineWith()
    const heard: string[] = []
    bus.subscribe("t1:script:log", { onMessage: (_channel, payload) => heard.push(payload) })
    const script = yield* engine.compile('function main() print("a", 1, nil) return cache.put("k", print) end', {
      name: "greeter"
    })
    expect(yield* script.runMain([], { cachePrefix: "t1" })).toBe(false)
    const tenant = tenants.route("t1:x")
    if (tenant === undefined) throw new Error("no tenant")
    const lines = engine.core.runs.account(tenant).log.read()
    expect(lines.map(({ kind, script: name }) => [kind, name])).toEqual([
      ["print", "greeter"],
      ["refused", "greeter"]
    ])
    expect(lines[0]?.text).toBe("a\t1\tnil")
    expect(lines[1]?.text).toContain("function")
    expect(heard).toHaveLength(2)
  })
)

it.scoped("text is text everywhere: names, errors, lines and results", () =>
  Effect.gen(function* () {
    const { engine } = yield* engineWith()
    const printed: string[] = []
    const script = yield* engine.compile('function main(x) print("größe", x) error("zu groß: " .. x) end', {
      name: "maß"
    })
    const error = yield* outcomeOf(script.runMain(["€"], { print: (line) => printed.push(line) }))
    expect(printed).toEqual(["größe\t€"])
    expect((error as ScriptError).message).toBe("maß:1: zu groß: €")
  })
)

it.scoped("nothing is left of the runs when the engine's scope closes", () =>
  Effect.gen(function* () {
    const runs: Run[] = []
    const engine = yield* Effect.scoped(
      Effect.gen(function* () {
        const { engine } = yield* engineWith()
        const script = yield* engine.compile("function main() return ask() end")
        const run = script.unsafeRun("main", [], { functions: { ask: () => new Promise<string>(() => {}) } })
        if (run instanceof Run) runs.push(run)
        return engine
      })
    )
    expect(runs[0]?.error?.message).toBe("script: ended because the engine has stopped")
    expect(engine.stats).toMatchObject({ runs: 0, suspended: 0 })
  })
)

describe("a script that calls a function of Lua's wrongly", () => {
  it.scoped.each([
    ["return tostring()", "bad argument #1 to 'tostring' (value expected)"],
    ["return table.sort({ 3, 2, 1 }, 1)", "bad argument #2 to 'sort' (function expected, got number)"],
    ["return error('argument 1 is mine', 0)", "argument 1 is mine"]
  ])("fails as one that has run, also where nothing of it is left: %s", ([body, reason]) =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`function main() ${body} end`)
      const error = yield* outcomeOf(script.runMain())
      expect(error).toBeInstanceOf(ScriptRuntimeError)
      expect(error).toMatchObject({ reason })
    })
  )
})

const turns = Effect.async<void>((resume) => void setImmediate(() => setImmediate(() => resume(Effect.void))))

describe("machines that nobody needs", () => {
  const waiting = "function main() return ask() end function quick() return 1 end"
  const second = Effect.zipRight(TestClock.adjust("1 second"), turns)

  it.scoped("are given up when nothing has run for a second, but for two", () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      yield* Supervisor.start({ children: engine.children })
      const script = yield* engine.compile(waiting)
      const answers: Array<(value: string) => void> = []
      const functions = { ask: () => new Promise<string>((resolve) => void answers.push(resolve)) }
      const fibers = yield* Effect.forEach(Array.from({ length: 5 }), () =>
        Effect.fork(script.runMain([], { functions }))
      )
      yield* turns
      expect(engine.stats).toMatchObject({ machines: 5, suspended: 5 })
      yield* second
      yield* second
      yield* second
      expect(engine.stats).toMatchObject({ machines: 5, images: 0 })
      for (const answer of answers) answer("it")
      yield* Effect.forEach(fibers, Fiber.join)
      yield* second
      expect(engine.stats.machines).toBe(5)
      yield* script.run("quick")
      yield* second
      expect(engine.stats.machines).toBe(5)
      yield* second
      expect(engine.stats.machines).toBe(2)
      expect(yield* script.run("quick")).toBe(1)
      expect(engine.stats.machines).toBe(2)
    })
  )
})

describe("a tenant's environment", () => {
  it.scoped("has no say in names that scripts have already; the operator is told once", () =>
    Effect.gen(function* () {
      const lines: string[] = []
      const logger = Logger.make(({ message, annotations }) => {
        lines.push(`${String(message)} ${JSON.stringify(Object.fromEntries(annotations))}`)
      })
      yield* Effect.gen(function* () {
        const { engine, tenants } = yield* engineWith()
        yield* tenants.create({ id: "t1" })
        yield* tenants.setEnv("t1", "cache", "not a cache")
        yield* tenants.setEnv("t1", "token", "s3cret")
        yield* tenants.setLimits("t1", { runsMax: 7 })
        const script = yield* engine.compile("function main() return { type(cache), token } end")
        expect(yield* script.runMain([], { cachePrefix: "t1" })).toEqual(["table", "s3cret"])
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      expect(lines).toHaveLength(2) // with each of the two environments that have it
      expect(lines[0]).toContain('"tenant":"t1"')
      expect(lines[0]).toContain('"names":"cache"')
      expect(lines.join()).not.toContain("s3cret")
    })
  )
})
