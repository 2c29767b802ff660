/** `cache` and `json` in scripts that are run by the engine: suspended between portions, and side by side. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { ScriptStep, ScriptVm } from "../../src/sandbox/index.ts"
import { makeCacheModule } from "../../src/scripting/cacheModule.ts"
import { engineWith } from "./engine.ts"
import { makeKeyspace, running } from "./hostModules.ts"

const prefix = { cachePrefix: "tenant_123" }

describe("scripts run by the engine", () => {
  it.live("count exactly with incr, though they all wait in between", () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith()
      tenants.open("tenant_123")
      yield* tenants.setLimits("tenant_123", { runsMax: 1000, fuelPerSecond: 1_000_000_000, waitMs: 60_000 })
      const script = yield* engine.compile(`
        function check(limit)
          local before = cache.get("limit:alice", 0)
          pause()
          cache.put("seen", before) -- what the textbook limiter would have stored: stale by now
          return cache.incr("limit:alice", 1, 60) <= limit
        end
        function count() return { cache.get("limit:alice"), cache.ttl("limit:alice") <= 60 } end
      `)
      const functions = { pause: () => new Promise<null>((resolve) => setImmediate(() => resolve(null))) }
      const allowed = yield* Effect.all(
        Array.from({ length: 1000 }, () => script.run("check", [300], { ...prefix, functions })),
        { concurrency: "unbounded" }
      )
      expect(allowed.filter((isAllowed) => isAllowed === true)).toHaveLength(300)
      expect(yield* script.run("count", [], prefix)).toEqual([1000, true])
    }).pipe(Effect.scoped)
  )

  it.scoped("keep what JSON says in the cache, null included", () =>
    Effect.gen(function* () {
      const { engine, tenants } = yield* engineWith()
      const script = yield* engine.compile(`
        function main(body)
          local cached = cache.get("response")
          if cached then return json.encode(cached.next) .. #cached.items end
          cache.put_ttl("response", json.decode(body), 30)
          return "fetched"
        end
      `)
      const body = '{"items":[1,2.0,null],"next":null}'
      expect(yield* script.runMain([body], prefix)).toBe("fetched")
      expect(yield* script.runMain([body], prefix)).toBe("null3")
      const stored = tenants.route("tenant_123:response")?.keyspace.peek("response")
      expect(stored?.value).toEqual({ items: [1, Object(2), null], next: null })
    })
  )
})

describe("cache.keys in a script machine", () => {
  it("is suspended between portions, and finds what was there all along", () => {
    const clock = { ms: 0 }
    const keyspace = makeKeyspace(clock)
    for (let i = 0; i < 20_000; i++) keyspace.set(`key:${i}`, "v")
    const vm = new ScriptVm({ hostTables: { cache: makeCacheModule({ run: running(keyspace, clock, []) }) } })
    expect(vm.compile("test", 'function main() return #cache.keys("key:", 10000) end')).toBeUndefined()
    const limits = { fuelMax: 1_000_000_000, bytesMax: 8 << 20, sliceMs: 0, sliceFuel: 50_000 }
    let [step, before, steps] = [vm.start("main", [], limits), 0, 1]
    while (step === ScriptStep.computing) {
      expect(vm.fuelSpent - before).toBeLessThan(50_000 + 100_000) // no portion is dearer than 0.4 ms
      before = vm.fuelSpent
      keyspace.delete(`key:${steps}`)
      keyspace.set(`new:${steps}`, "v")
      step = vm.resume()
      steps++
    }
    expect([step, vm.result]).toEqual([ScriptStep.done, 10_000])
    expect(steps).toBeGreaterThan(10)
    vm.release()
  })
})
