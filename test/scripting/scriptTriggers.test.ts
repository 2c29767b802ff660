/** What scripts do with `cache`, where the tenant has triggers: these run, may refuse, and are paid for by the script. */
import { expect, it } from "vitest"
import { makeEngine, told } from "../support/Engine.ts"
import { makeModules, running } from "./hostModules.ts"

/** A script's machine over the keyspace of an engine with triggers. */
const ready = () => {
  const modules = makeModules()
  const engine = makeEngine({ fuelMax: 100_000 })
  modules.current.run = running(engine.keyspace, engine.clock, modules.refusals)
  return { ...modules, engine }
}

it("a script's operations fire the tenant's triggers, each before the call returns", () => {
  const { run, engine } = ready()
  engine.trigger({
    name: "t",
    pattern: "k",
    events: ["ON_WRITE", "ON_READ", "ON_DELETE"],
    source: 'cache.emit("seen", { event.type, event.value }) cache.set("copy", event.value)'
  })
  expect(run('cache.put("k", 1) local copy = cache.get("copy") cache.get("k") cache.delete("k") return copy')).toBe(1)
  expect(told(engine)).toEqual([
    ["ON_WRITE", 1],
    ["ON_READ", 1],
    ["ON_DELETE", 1]
  ])
})

it("a BEFORE_WRITE trigger refuses a put, in its own words, or changes what it stores", () => {
  const { run, engine, refusals } = ready()
  engine.trigger({
    name: "t",
    pattern: "k",
    events: ["BEFORE_WRITE"],
    source: 'if event.value == "bad" then cache.reject("no " .. event.value) end return { value = 7 }'
  })
  expect(
    run('return { cache.put("k", "bad"), cache.has("k"), cache.put("k", "good"), cache.get("k"), cache.incr("k") }')
  ).toEqual([false, false, true, 7, 7])
  expect(refusals).toEqual(["cache.put: rejected by a trigger: no bad"])
})

it("what a trigger computes is the computing of the script that sets it off", () => {
  const { run, engine, fuel } = ready()
  const calls = 'for i = 1, 10 do cache.put("k", i) end'
  run(calls)
  const alone = fuel()
  engine.trigger({ name: "t", pattern: "k", events: ["ON_WRITE"], source: "for i = 1, 5000 do end" })
  run(calls)
  expect(fuel() - alone).toBeGreaterThan(10 * 5000)
  expect(() => run('while true do cache.put("k", 1) end', { fuelMax: 100_000 })).toThrow("stopped after 100000 units")
})
