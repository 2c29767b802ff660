/** Kills and quarantine, ports that refuse, the ids of webhooks: the runner where things go wrong. */
import { describe, expect, it } from "vitest"
import { describe as shown } from "../../src/triggers/Trigger.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"

const killing = "xpcall(error, function() while true do end end)"

const kinds = ({ log }: Engine) =>
  log
    .recent(1000)
    .map(({ trigger, kind }) => `${trigger} ${kind}`)
    .reverse()

const withKiller = () => {
  const engine = makeEngine({ fuelMax: 5_000 })
  engine.trigger({ name: "killer", pattern: "k", source: killing })
  engine.trigger({ name: "neighbour", pattern: "*", source: 'cache.emit("x", event.key)' })
  const kill = (times: number) => {
    for (let i = 0; i < times; i++) engine.keyspace.set("k", "v")
  }
  return { ...engine, kill }
}

describe("a trigger that kills its machine", () => {
  it("is recorded, and its machine's process hears of each kill", () => {
    const engine = withKiller()
    const heard: string[] = []
    engine.kill(1)
    engine.workers[0]?.adopt((reason) => heard.push(reason))
    engine.kill(1)
    expect(kinds(engine)).toEqual(["killer killed", "killer killed"])
    expect(heard).toEqual(["trigger 'killer' did not stop"])
    expect(engine.workers[0]).toMatchObject({ kills: 2, lastKill: "trigger 'killer' did not stop", epoch: 1 })
  })

  it("more than five times within ten seconds is taken out, and says why", () => {
    const engine = withKiller()
    engine.kill(5)
    expect(engine.registry.get("killer")?.quarantine.reason).toBe(null)
    engine.kill(2)
    expect(kinds(engine)).toEqual([...Array(6).fill("killer killed"), "killer skipped:quarantined"])
    const words =
      "killed its machine more than 5 times within 10 s; it is probed by itself, or set in again by TRIGGER ENABLE"
    expect(engine.log.recent(1)[0]?.message).toBe(words)
    const trigger = engine.registry.get("killer")
    expect(trigger && shown(trigger)).toMatchObject({ status: "quarantined", quarantine: words, runs: 6 })
    expect(trigger?.stats.skips.quarantined).toBe(1)
  })

  it("is taken out alone: others in its machine go on", () => {
    const engine = withKiller()
    engine.kill(10)
    expect(engine.emits.length).toBe(10)
    expect([engine.machines.size, engine.registry.get("neighbour")?.quarantine.reason]).toEqual([1, null])
  })

  it("five times in ten seconds, again and again, is not taken out", () => {
    const engine = withKiller()
    for (let i = 0; i < 4; i++) {
      engine.kill(5)
      engine.clock.ms += 10_001
    }
    expect(engine.registry.get("killer")?.quarantine.reason).toBe(null)
  })

  it("at the edge of the ten seconds counts", () => {
    const engine = withKiller()
    engine.kill(5)
    engine.clock.ms += 10_000
    engine.kill(1)
    expect(engine.registry.get("killer")?.quarantine.reason).not.toBe(null)
  })

  it("is active again when it is set again, with no kills held against it", () => {
    const engine = withKiller()
    engine.kill(6)
    engine.trigger({
      name: "killer",
      pattern: "k",
      source: `if event.value == "kill" then ${killing} end cache.emit("y", 1)`
    })
    engine.kill(1)
    expect(engine.emits.at(-2)).toEqual({ channel: "y", payload: "1" })
    engine.keyspace.set("k", "kill")
    expect(engine.registry.get("killer")?.quarantine.reason).toBe(null)
  })

  it("twenty errors, timeouts or lacks of memory are not too many", () => {
    const engine = makeEngine({ fuelMax: 5_000 })
    const sources = ['error("no")', "while true do end", 'local s = "x" while true do s = s .. s end']
    for (const source of sources) engine.trigger({ source })
    for (let i = 0; i < 20; i++) engine.keyspace.set("k", "v")
    expect([...engine.registry.all()].map(({ quarantine, stats }) => [quarantine.reason, stats.runs])).toEqual(
      Array(3).fill([null, 20])
    )
  })
})

describe("ports that refuse", () => {
  it("a webhook that finds no room is counted and recorded; the others are offered all the same", () => {
    const offered: string[] = []
    const engine = makeEngine({
      ports: { webhooks: { offer: ({ body }) => offered.push(body) !== 2, lastRefusal: "no room" } }
    })
    engine.trigger({ source: 'for i = 1, 3 do cache.webhook("http://a", i) end cache.emit("x", "after")' })
    expect(engine.keyspace.set("k", "v")).toBe(true)
    expect([offered, engine.runner.effects.counters.webhooksRefused, engine.emits.length]).toEqual([
      ["1", "2", "3"],
      1,
      1
    ])
    const message = "no room (webhook boot-1-t1-2 was not sent)"
    expect(engine.log.recent(9)).toMatchObject([{ trigger: "t1", kind: "refused:webhook", sequence: 1, message }])
  })

  it("emits are published until they have reached as many subscribers as an operation may; the rest is one record", () => {
    const published: string[] = []
    const receivers: Record<string, number> = { three: 3, nobody: 0 }
    const publish = (channel: string, payload: string) => {
      published.push(payload)
      return receivers[channel]
    }
    const engine = makeEngine({ cascade: { deliveries: 5 }, ports: { emits: { publish } } })
    engine.trigger({ name: "loud", source: 'for i = 1, 6 do cache.emit(event.key, i) end cache.log("after")' })
    const operate = (key: string) => {
      published.length = 0
      engine.keyspace.set(key, "v")
      return published.join(" ")
    }
    expect(operate("three")).toBe("1 2")
    expect(engine.log.recent(1)[0]).toMatchObject({
      trigger: "loud",
      kind: "refused:emit",
      key: "three",
      count: 4,
      message: "an operation's emits may reach 5 subscribers in all; emit less, or subscribe less often"
    })
    expect([engine.lines.length, engine.runner.effects.counters.emitsDropped]).toEqual([1, 4])
    expect(operate("three")).toBe("1 2")
    expect([operate("nobody"), engine.runner.effects.counters.emitsDropped]).toEqual(["1 2 3 4 5", 9])
  })

  it("a line that nobody takes is counted", () => {
    const engine = makeEngine({ ports: { lines: { offer: () => false } } })
    engine.trigger({ source: 'cache.log("one") print("two")' })
    expect(engine.keyspace.set("k", "v")).toBe(true)
    expect(engine.runner.effects.counters.linesDropped).toBe(2)
  })

  it("a port that throws, which is a defect, is counted and leaves an engine that works", () => {
    let isBroken = true
    const published: string[] = []
    const engine = makeEngine({
      ports: {
        emits: {
          publish: (_, payload) => {
            if (isBroken) throw new Error("a defect")
            published.push(payload)
          }
        }
      }
    })
    engine.trigger({ source: 'cache.emit("x", event.value)' })
    expect(engine.keyspace.set("k", "first")).toBe(true)
    expect(engine.keyspace.stats.sinkErrors).toBe(1)
    isBroken = false
    engine.keyspace.set("k", "second")
    expect(published).toEqual(["second"])
    expect(engine.keyspace.origin).toBe(null)
  })
})

describe("the ids of webhooks (law 12)", () => {
  const ids = ({ webhooks }: Engine) => webhooks.map(({ id }) => id)

  it("name the start of the process, the event, the trigger and the call within the run", () => {
    const engine = makeEngine()
    engine.trigger({ name: "a", source: 'cache.webhook("http://a", 1) cache.webhook("http://a", 2)' })
    engine.trigger({ name: "b", source: 'cache.webhook("http://a", 1)' })
    engine.keyspace.set("k", "v")
    engine.keyspace.set("k", "v")
    expect(ids(engine)).toEqual(["boot-1-a-1", "boot-1-a-2", "boot-1-b-1", "boot-2-a-1", "boot-2-a-2", "boot-2-b-1"])
  })

  it("are the same for the same calls of the same events", () => {
    const schedule = () => {
      const engine = makeEngine({ maxEntries: 3 })
      engine.trigger({
        name: "w",
        events: ["ON_WRITE", "ON_EVICT"],
        source: 'cache.webhook("http://a", event.key) cache.set("copy:" .. #event.key, 1)'
      })
      for (const key of ["a", "bb", "ccc", "a"]) engine.keyspace.set(key, "v")
      return ids(engine)
    }
    expect(schedule()).toEqual(schedule())
    expect(new Set(schedule()).size).toBe(schedule().length)
  })

  it("do not depend on a call that was refused, nor on one with an id of its own", () => {
    const engine = makeEngine()
    engine.trigger({
      name: "w",
      source:
        'pcall(cache.webhook, "nowhere") cache.webhook("http://a", 1, { id = "own" }) cache.webhook("http://a", 2)'
    })
    engine.keyspace.set("k", "v")
    expect(ids(engine)).toEqual(["own", "boot-1-w-2"])
  })

  it("differ between the events of one cascade", () => {
    const engine = makeEngine()
    engine.trigger({
      name: "w",
      pattern: "k*",
      source: 'cache.webhook("http://a", 1) if #event.key < 4 then cache.set(event.key .. "k", 1) end'
    })
    engine.keyspace.set("k", "v")
    expect(ids(engine)).toEqual(["boot-1-w-1", "boot-2-w-1", "boot-3-w-1", "boot-4-w-1"])
  })
})
