/** Many scripts of many tenants at once, on real machines. */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Tenant } from "../../src/cache/index.ts"
import { Run, ScriptQuotaExceeded, ScriptSyntaxError, ScriptTimeout } from "../../src/scripting/index.ts"
import { propertyTimeoutMs, Random } from "../support/Random.ts"
import { engineWith } from "./engine.ts"

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A promise that the test keeps, for each call of it. */
const keptPromises = () => {
  const answers: Array<() => void> = []
  return { answers, wait: () => new Promise<null>((resolve) => answers.push(() => resolve(null))) }
}

it.scoped(
  "a thousand rate limits that wait in between count exactly with cache.incr, and lose counts with get and put",
  () =>
    Effect.gen(function* () {
      const { engine } = yield* engineWith()
      const script = yield* engine.compile(`
      function exact() local n = cache.incr("exact") wait() return n <= 100 end
      function textbook() local n = cache.get("textbook", 0) wait() cache.put("textbook", n + 1) return n < 100 end
      function counts() return { cache.get("exact"), cache.get("textbook") } end
    `)
      const options = { cachePrefix: "t", limits: { waitMs: 3_600_000 } }
      const allowed: number[] = []
      for (const entry of ["exact", "textbook"]) {
        const { answers, wait } = keptPromises()
        /** Once all that were started wait. */
        const answerAll = async () => {
          while (engine.stats.queued > 0) await turn()
          for (const answer of answers.splice(0)) answer()
          while (engine.stats.runs > 0) await turn()
        }
        const runs: Run[] = []
        for (let i = 0; i < 1_000; i++) {
          if (i % 100 === 0) yield* Effect.promise(answerAll)
          const run = script.unsafeRun(entry, [], { ...options, functions: { wait } })
          if (!(run instanceof Run)) throw run
          runs.push(run)
        }
        yield* Effect.promise(answerAll)
        allowed.push(runs.filter(({ value }) => value === true).length)
      }
      const [exact, textbook] = (yield* script.run("counts", [], options)) as [number, number]
      expect(exact).toBe(1_000)
      expect(allowed[0]).toBe(100)
      expect(textbook).toBe(10) // a hundred at once, of which each has seen the same number
      expect(allowed[1]).toBe(1_000)
    }),
  propertyTimeoutMs
)

it.scoped(
  "a tenant that computes without end gets typed errors, and the others their results",
  () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith()
      const burner = yield* engine.compile("function main() while true do end end")
      const script = yield* engine.compile(
        "function main(x) local s = 0 for i = 1, 1000 do s = s + i end return s + x end"
      )
      yield* tenants.create({ id: "burner", limits: { runsMax: 20, computeMs: 5 } })
      const burning: Run[] = []
      const refused: unknown[] = []
      for (let i = 0; i < 30; i++) {
        const run = burner.unsafeRun("main", [], { cachePrefix: "burner" })
        if (run instanceof Run) burning.push(run)
        else refused.push(run)
      }
      expect(refused).toHaveLength(10)
      for (const error of refused) expect(error).toBeInstanceOf(ScriptQuotaExceeded)
      const { turns } = engine.core.runs.scheduler.counters
      const runs: Run[] = []
      for (let i = 0; i < 99; i++) {
        const run = script.unsafeRun("main", [i], { cachePrefix: `normal_${i}` })
        if (!(run instanceof Run)) throw run
        runs.push(run)
      }
      while (runs.some(({ isEnded }) => !isEnded)) yield* Effect.promise(turn)
      expect(runs.map(({ value }) => value)).toEqual(runs.map((_, i) => 500_500 + i))
      // Twenty runs of the burner, of which each computes for 5 ms, need a hundred turns at least.
      expect(burning.filter(({ isEnded }) => isEnded).length).toBeLessThan(20)
      expect(engine.core.runs.scheduler.counters.turns - turns).toBeLessThan(100)
      while (engine.stats.runs > 0) yield* Effect.promise(turn)
      for (const { error } of burning) expect(error).toBeInstanceOf(ScriptTimeout)
    }),
  propertyTimeoutMs
)

it.scoped(
  "what a tenant's scripts do, in random programs on the same keys, only that tenant ever sees",
  () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith({ machinesMax: 4 })
      const random = new Random(7)
      const script = engine.unsafeCompile(`
      global = global or "none"
      function main(steps)
        local seen = {}
        for i, step in ipairs(steps) do
          local what, key, value = step[1], step[2], step[3]
          if what == "put" then cache.put(key, value)
          elseif what == "get" then seen[#seen + 1] = cache.get(key, "-")
          elseif what == "incr" then seen[#seen + 1] = cache.incr("n")
          elseif what == "wait" then wait()
          elseif what == "burn" then for i = 1, value do end
          else print(me, key) end
        end
        assert(global == "none")
        global = me
        return { me, seen }
      end
    `)
      if (script instanceof ScriptSyntaxError) throw script
      const { answers, wait } = keptPromises()
      interface Model {
        readonly store: Map<string, string>
        n: number
        readonly printed: string[]
      }
      const models = new Map<string, Model>()
      const pending: Array<{ run: Run; tenant: string; expected: unknown }> = []
      const check = ({ run, tenant, expected }: (typeof pending)[number]) => {
        if (run.error !== null) throw run.error
        expect(run.value).toEqual([tenant, expected])
      }
      for (let round = 0; round < 40; round++) {
        // One run a tenant at a time, so that the model knows the order of what it does.
        for (let at = 0; at < 25; at++) {
          const tenant = `tenant_${at}`
          const model: Model = models.get(tenant) ?? { store: new Map(), n: 0, printed: [] }
          models.set(tenant, model)
          const expected: unknown[] = []
          const steps = Array.from({ length: random.between(1, 8) }, () => {
            const what = random.pick(["put", "get", "incr", "wait", "burn", "print"])
            const key = random.pick(["user_count", "a", "", "x:y", "..", "\u0000"])
            const value = what === "burn" ? random.pick([10, 60_000]) : `${tenant} ${round}`
            if (what === "put") model.store.set(key, String(value))
            if (what === "get") expected.push(model.store.get(key) ?? "-")
            if (what === "incr") expected.push(++model.n)
            if (what === "print") model.printed.push(`${tenant}\t${key}`)
            return [what, key, value]
          })
          const run = script.unsafeRun("main", [steps], {
            cachePrefix: tenant,
            env: { me: tenant },
            functions: { wait },
            limits: { waitMs: 3_600_000 }
          })
          if (!(run instanceof Run)) throw run
          pending.push({ run, tenant, expected: expected.length === 0 ? {} : expected })
        }
        while (pending.length > 0) {
          for (const answer of answers.splice(0).sort(() => random.next() - 0.5)) answer()
          yield* Effect.promise(turn)
          for (const done of pending.filter(({ run }) => run.isEnded)) {
            check(done)
            pending.splice(pending.indexOf(done), 1)
          }
        }
      }
      expect(engine.stats.swapsIn).toBeGreaterThan(100)
      for (const [id, { store, n, printed }] of models) {
        const tenant = tenants.get(id) as Tenant
        const values = Object.fromEntries([...store.keys()].map((key) => [key, tenant.keyspace.peek(key)?.value]))
        expect(values).toEqual(Object.fromEntries(store))
        expect(tenant.keyspace.peek("n")?.value ?? 0).toBe(n)
        const log = engine.core.runs.account(tenant).log
        expect(log.read({ count: 1_000 }).map(({ text }) => text)).toEqual(printed)
      }
      expect(engine.stats).toMatchObject({ runs: 0, suspended: 0, images: 0, imageBytes: 0 })
    }),
  propertyTimeoutMs
)
