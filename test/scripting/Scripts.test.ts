/** Scripts under their names: kept, run, listed and saved, for a tenant by its id. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, Layer, Logger, LogLevel } from "effect"
import { ExitReason, Process, Supervisor } from "../../src/actor/index.ts"
import { Tenants } from "../../src/cache/index.ts"
import {
  FunctionNotFound,
  InvalidScriptName,
  type SavedScript,
  ScriptEngine,
  ScriptInterrupted,
  ScriptNotFound,
  ScriptQuotaExceeded,
  ScriptStore,
  ScriptSyntaxError,
  Scripts,
  ScriptsNotSaved,
  TooManyScripts
} from "../../src/scripting/index.ts"
import { layerEngine } from "./engine.ts"

const outcomeOf = <A, E>(effect: Effect.Effect<A, E>) => Effect.map(Effect.either(effect), Either.merge)

const settled = Effect.async<void>((resume) => void setImmediate(() => setImmediate(() => resume(Effect.void))))

/** What is told to the store, in its order; `saved` is what it had at the start, for tenants of these ids. */
const scriptsWith = (saved: readonly SavedScript[] = [], tenantIds: readonly string[] = ["t1", "t2"]) =>
  Effect.gen(function* () {
    const told: string[] = []
    const store = Layer.succeed(ScriptStore, {
      saved,
      save: (tenant, name, source) =>
        source.includes("unsaved")
          ? Effect.fail(new ScriptsNotSaved({ cause: "the disk is full" }))
          : Effect.sync(() => void told.push(`save ${tenant}/${name}`)),
      remove: (tenant, name) => Effect.sync(() => void told.push(`remove ${tenant}/${name}`)),
      removeAll: (tenant) => Effect.sync(() => void told.push(`remove all of ${tenant}`))
    })
    const engine = yield* Layer.build(layerEngine())
    const tenants = yield* Effect.provide(Tenants, engine)
    for (const id of tenantIds) yield* tenants.create({ id })
    const context = yield* Layer.build(Layer.provide(Scripts.layer, Layer.merge(Layer.succeedContext(engine), store)))
    const scripts = yield* Effect.provide(Scripts, context)
    return { scripts, tenants, told, engine: yield* Effect.provide(ScriptEngine, engine) }
  })

const silent = Logger.withMinimumLogLevel(LogLevel.None)

describe("a tenant's script", () => {
  it.scoped("is kept under its name, saved, listed, and run with the tenant's own cache", () =>
    Effect.gen(function* () {
      const { scripts, told, tenants } = yield* scriptsWith()
      const info = yield* scripts.set("t1", "counter", "function main(by) return cache.incr('n', by) end")
      expect(info).toMatchObject({ name: "counter", version: 1, functions: ["main"], error: null, bytes: 48 })
      expect(told).toEqual(["save t1/counter"])
      expect(yield* scripts.run("t1", "counter", "main", [5])).toBe(5)
      expect(yield* scripts.run("t1", "counter", "main", [2])).toBe(7)
      expect(tenants.get("t1")?.keyspace.peek("n")?.value).toBe(7)
      expect(tenants.get("t2")?.keyspace.size).toBe(0)
      expect(scripts.list("t1").map(({ name }) => name)).toEqual(["counter"])
      expect(scripts.list("t2")).toEqual([])
      expect(scripts.info("t1", "counter")?.source).toContain("cache.incr")
      expect(scripts.info("t2", "counter")).toBeUndefined()
    })
  )

  it.scoped("counts its versions, and a new one is what runs", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "function main() return 1 end")
      const second = yield* scripts.set("t1", "a", "function main() return 2 end")
      expect(second.version).toBe(2)
      expect(yield* scripts.run("t1", "a", "main", [])).toBe(2)
      expect(scripts.list("t1")).toHaveLength(1)
    })
  )

  it.scoped("that does not compile changes nothing", () =>
    Effect.gen(function* () {
      const { scripts, told } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "function main() return 1 end")
      const error = yield* outcomeOf(scripts.set("t1", "a", "function main( return 1 end"))
      expect(error).toBeInstanceOf(ScriptSyntaxError)
      expect(error).toMatchObject({ script: "a", line: 1 })
      expect(yield* scripts.run("t1", "a", "main", [])).toBe(1)
      expect(told).toEqual(["save t1/a"])
    })
  )

  it.scoped("that could not be saved runs all the same, and its owner is told", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      const error = yield* outcomeOf(scripts.set("t1", "a", "function main() return 'unsaved' end"))
      expect(error).toBeInstanceOf(ScriptsNotSaved)
      expect(yield* scripts.run("t1", "a", "main", [])).toBe("unsaved")
    })
  )

  it.scoped("is gone once it is removed, and can be removed once", () =>
    Effect.gen(function* () {
      const { scripts, told } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "function main() end")
      expect(yield* scripts.remove("t1", "a")).toBe(true)
      expect(yield* scripts.remove("t1", "a")).toBe(false)
      expect(told).toEqual(["save t1/a", "remove t1/a"])
      expect(yield* outcomeOf(scripts.run("t1", "a", "main", []))).toBeInstanceOf(ScriptNotFound)
    })
  )

  it.scoped("has a name that is one, and there are as many as the tenant may have", () =>
    Effect.gen(function* () {
      const { scripts, tenants } = yield* scriptsWith()
      for (const name of ["", "../x", ".hidden", "a/b", "x".repeat(65)]) {
        expect(yield* outcomeOf(scripts.set("t1", name, "function main() end"))).toBeInstanceOf(InvalidScriptName)
      }
      yield* tenants.setLimits("t1", { scriptsMax: 1 })
      yield* scripts.set("t1", "a", "function main() end")
      expect(yield* outcomeOf(scripts.set("t1", "b", "function main() end"))).toBeInstanceOf(TooManyScripts)
      yield* scripts.set("t1", "a", "function other() end")
      yield* scripts.set("t2", "b", "function main() end")
    })
  )

  it.scoped("says which tenant, script or function there is not", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "function main() end")
      expect(yield* outcomeOf(scripts.run("nobody", "a", "main", []))).toMatchObject({ _tag: "TenantNotFound" })
      expect(yield* outcomeOf(scripts.set("nobody", "a", ""))).toMatchObject({ _tag: "TenantNotFound" })
      expect(yield* outcomeOf(scripts.run("t2", "a", "main", []))).toBeInstanceOf(ScriptNotFound)
      expect(yield* outcomeOf(scripts.run("t1", "a", "check", []))).toBeInstanceOf(FunctionNotFound)
      expect(scripts.log("nobody")).toEqual([])
    })
  )

  it.scoped("may be run without being kept", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      const source = "function main(x) cache.put('x', x) return x end"
      expect(yield* scripts.evaluate("t1", source, "main", ["bytes"])).toBe("bytes")
      expect(scripts.list("t1")).toEqual([])
      expect(yield* outcomeOf(scripts.evaluate("t1", "function (", "main", []))).toBeInstanceOf(ScriptSyntaxError)
    })
  )

  it.scoped("pays for being compiled, so that nobody compiles without end", () =>
    Effect.gen(function* () {
      const { scripts, tenants } = yield* scriptsWith()
      yield* tenants.setLimits("t1", { fuelPerSecond: 1_000_000 })
      const source = `function main() end ${"-".repeat(60_000)}`
      const outcomes = []
      for (let i = 0; i < 3; i++) outcomes.push(yield* outcomeOf(scripts.set("t1", "a", source)))
      expect(outcomes.at(-1)).toBeInstanceOf(ScriptQuotaExceeded)
      expect(outcomes.at(-1)).toMatchObject({ what: "fuel", tenant: "t1" })
    })
  )

  it.scoped("pays what its compiling has taken, and no more", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      const fuelOf = (source: string) =>
        Effect.gen(function* () {
          const before = scripts.usage("t1")?.fuel ?? 0
          yield* outcomeOf(scripts.set("t1", "a", source))
          return (scripts.usage("t1")?.fuel ?? 0) - before
        })
      const short = yield* fuelOf("function main() end")
      expect(short).toBeLessThan(40_000)
      const plain = yield* fuelOf("function f(a, b) return a + b * 2 + aa end\n".repeat(500))
      expect(plain).toBeGreaterThan(500 * 43 * 30)
      // A compiler that looks through 190 locals for each name works more for each byte.
      const dear = `${Array.from({ length: 190 }, (_, i) => `local v${i}\n`).join("")}${"x=v0 ".repeat(3900)}`
      expect(yield* fuelOf(dear)).toBeGreaterThan(plain)
      expect(yield* fuelOf(`${"local x = 1 ".repeat(100)}local`)).toBeGreaterThan(1000)
      expect(yield* fuelOf("-".repeat(1 << 17))).toBe(0)
    })
  )

  it.scoped("is run with a seed that is a whole number, or not at all", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      const source = "function main() return math.random(1 << 30) end"
      yield* scripts.set("t1", "a", source)
      const first = yield* scripts.run("t1", "a", "main", [], { seed: -3 })
      expect(yield* scripts.evaluate("t1", source, "main", [], { seed: -3 })).toBe(first)
      expect(yield* scripts.run("t1", "a", "main", [], { seed: 4 })).not.toBe(first)
      for (const seed of [1.5, Number.NaN, 2 ** 60]) {
        const refused = { _tag: "InvalidArgument", path: "seed" }
        expect(yield* outcomeOf(scripts.run("t1", "a", "main", [], { seed }))).toMatchObject({
          ...refused,
          script: "a"
        })
        expect(yield* outcomeOf(scripts.evaluate("t1", source, "main", [], { seed }))).toMatchObject(refused)
      }
    })
  )

  it.scoped("that fails has its traceback below the message in the log", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "local function f() error('no') end\nfunction main() f() return 1 end")
      const error = yield* outcomeOf(scripts.run("t1", "a", "main", []))
      yield* outcomeOf(scripts.run("t1", "a", "other", []))
      const [failed, notFound] = scripts.log("t1")
      expect(failed?.text.split("\n")).toEqual([
        "a:1: no",
        "stack traceback:",
        "\t[C]: in function 'error'",
        "\ta:1: in upvalue 'f'",
        "\ta:2: in function <a:2>"
      ])
      expect(failed?.text).toBe(`${(error as Error).message}\n${(error as { traceback?: string }).traceback}`)
      expect(notFound?.text).not.toContain("\n")
    })
  )

  it.scoped("is logged for its tenant alone", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "function main(x) print(x) if x == 3 then error('three') end end")
      for (const x of [1, 2, 3]) yield* outcomeOf(scripts.run("t1", "a", "main", [x]))
      expect(scripts.log("t1").map(({ number, text }) => [number, text])).toEqual([
        [1, "1"],
        [2, "2"],
        [3, "3"],
        [4, expect.stringContaining("a:1: three")]
      ])
      expect(scripts.log("t1", { after: 3 })).toHaveLength(1)
      expect(scripts.log("t1", { after: 1, count: 1 }).map(({ number }) => number)).toEqual([2])
      expect(scripts.log("t2")).toEqual([])
    })
  )
})

it.scoped("a tenant's use is counted for it alone", () =>
  Effect.gen(function* () {
    const { scripts, tenants } = yield* scriptsWith()
    yield* tenants.setLimits("t1", { runsMax: 1 })
    yield* scripts.set("t1", "a", "function main(x) if x then error('no') end end")
    yield* scripts.run("t1", "a", "main", [])
    yield* outcomeOf(scripts.run("t1", "a", "main", [true]))
    yield* outcomeOf(scripts.run("t1", "a", "other", []))
    expect(scripts.usage("t1")).toMatchObject({
      scripts: 1,
      runs: 0,
      queued: 0,
      suspended: 0,
      imageBytes: 0,
      refused: 0,
      outcomes: { ok: 1, error: 1, invalid: 1, timeout: 0 }
    })
    expect(scripts.usage("t1")?.fuel).toBeGreaterThan(0)
    expect(scripts.usage("t2")).toMatchObject({ scripts: 0, fuel: 0, outcomes: { ok: 0 } })
    expect(scripts.usage("nobody")).toBeUndefined()
  })
)

describe("a tenant that is removed", () => {
  it.scoped("takes its scripts along, on the disk as well, and one of its name does not have them", () =>
    Effect.gen(function* () {
      const { scripts, tenants, told } = yield* scriptsWith()
      yield* scripts.set("t1", "a", "function main() end")
      yield* scripts.set("t2", "b", "function main() end")
      yield* tenants.remove("t1")
      yield* settled
      expect(told).toEqual(["save t1/a", "save t2/b", "remove all of t1"])
      yield* tenants.create({ id: "t1" })
      expect(scripts.list("t1")).toEqual([])
      expect(scripts.log("t1")).toEqual([])
      expect(scripts.list("t2")).toHaveLength(1)
    })
  )
})

describe("at the start", () => {
  const saved: SavedScript[] = [
    { tenant: "t1", name: "good", source: "function main() return 'good' end" },
    { tenant: "t1", name: "bad", source: "function main( return end" },
    { tenant: "gone", name: "old", source: "function main() end" }
  ]

  it.scoped("what was saved is there again, and what no longer compiles is kept and says why", () =>
    Effect.gen(function* () {
      const { scripts } = yield* scriptsWith(saved)
      expect(scripts.list("t1").map(({ name }) => name)).toEqual(["bad", "good"])
      expect(yield* scripts.run("t1", "good", "main", [])).toBe("good")
      yield* Supervisor.start({ children: scripts.children })
      yield* settled
      yield* settled
      expect(scripts.list("t1").map(({ name, error }) => [name, error])).toEqual([
        ["bad", expect.stringContaining("bad:1:")],
        ["good", null]
      ])
      expect(yield* outcomeOf(scripts.run("t1", "bad", "main", []))).toBeInstanceOf(ScriptSyntaxError)
      yield* scripts.set("t1", "bad", "function main() return 'better' end")
      expect(yield* scripts.run("t1", "bad", "main", [])).toBe("better")
    }).pipe(silent)
  )

  it.scoped("what belongs to nobody is left alone, and removed before somebody of that name comes", () =>
    Effect.gen(function* () {
      const { scripts, tenants, told } = yield* scriptsWith(saved)
      expect(told).toEqual([])
      yield* tenants.create({ id: "gone" })
      yield* settled
      expect(told).toEqual(["remove all of gone"])
      expect(scripts.list("gone")).toEqual([])
    }).pipe(silent)
  )
})

it.scoped("the runs end with the process that owns them, and its successor finds a clean house", () =>
  Effect.gen(function* () {
    const { engine } = yield* scriptsWith()
    const supervisor = yield* Supervisor.start({ maxRestarts: 10, children: engine.children })
    const script = yield* engine.compile("function main() return ask() end function quick() return 1 end")
    const fiber = yield* Effect.fork(
      outcomeOf(script.runMain([], { functions: { ask: () => new Promise<string>(() => {}) } }))
    )
    yield* Effect.yieldNow()
    expect(engine.stats.suspended).toBe(1)
    for (const pid of Process.list()) if (pid.label === "scripts") Process.unsafeExit(pid, ExitReason.killed)
    yield* settled
    expect(yield* fiber).toBeInstanceOf(ScriptInterrupted)
    expect(engine.stats).toMatchObject({ runs: 0, suspended: 0 })
    expect(yield* script.run("quick")).toBe(1)
    yield* settled
    expect(Supervisor.unsafeTree(supervisor)?.children.map(({ name }) => name)).toContain("scripts")
  }).pipe(silent)
)
