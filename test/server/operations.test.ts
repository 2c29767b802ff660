/** One command is one operation (law 7), however many keys it changes: seen through triggers that really run. */
import { afterEach, describe, expect, it } from "vitest"
import { TurnClock } from "../../src/cache/TurnClock.ts"
import { runFuel } from "../../src/triggers/Cascade.ts"
import { type Engine, type EngineOptions, makeEngine } from "../support/Engine.ts"
import { RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

let server: TestServer | undefined
let client: RawClient

afterEach(async () => {
  await client.close()
  await server?.stop()
})

const connected = async (options?: EngineOptions): Promise<Engine> => {
  const engine = makeEngine({ fuelMax: 1_000_000, ...options })
  server = await startServer({ keyspace: engine.keyspace, clock: new TurnClock(engine.clock) })
  client = await RawClient.connect(server.port)
  return engine
}

const pairs = (count: number, prefix = "k"): string[] =>
  Array.from({ length: count }, (_, i) => [`${prefix}${i}`, "v"]).flat()

const transaction = (...commands: string[][]) => client.pipeline([["MULTI"], ...commands, ["EXEC"]])

const slow = "for i = 1, 5000 do end"

const idle = ";" // costs hardly more than it costs to run it
const fuelOfOne = runFuel + 1 // so that a few of them spend a budget of as many, and not a run before

/** An operation before those that are counted: programs are loaded at their first run, which is paid for. */
const load = () => client.send("SET", "g", "v")

describe("a command that changes hundreds of keys ends after one budget, the rest is one record", () => {
  it("MSET, MSETNX and EXEC", async () => {
    const engine = await connected({ cascade: { fuel: 100_000 } })
    const { stats, name } = engine.trigger({ source: slow })
    const commands: Array<[string, () => Promise<unknown>]> = [
      ["MSET", () => client.send("MSET", ...pairs(600, "a"))],
      ["MSETNX", () => client.send("MSETNX", ...pairs(600, "b"))],
      ["EXEC", () => transaction(...Array.from({ length: 600 }, (_, i) => ["SET", `c${i}`, "v"]))]
    ]
    const ran = []
    for (const [command, send] of commands) {
      const [runs, cut, records] = [stats.runs, stats.skips.budget, engine.log.total]
      await send()
      expect([command, stats.runs - runs + stats.skips.budget - cut, engine.log.total - records]).toEqual([
        command,
        600,
        1
      ])
      expect(engine.log.recent(1)[0]).toMatchObject({
        trigger: name,
        kind: "skipped:budget",
        count: stats.skips.budget - cut
      })
      ran.push(stats.runs - runs)
    }
    expect(ran[0]).toBeGreaterThan(0)
    expect(ran).toEqual([ran[0], ran[0], ran[0]])
    expect(engine.keyspace.size).toBe(1800)
  })

  it("with those who are asked before: they and those who are told after share it", async () => {
    const engine = await connected({ cascade: { fuel: 10 * fuelOfOne } })
    const gate = engine.trigger({ events: ["BEFORE_WRITE"], pattern: "g*", source: idle })
    const ear = engine.trigger({ source: idle })
    await load()
    expect([gate.stats.runs, ear.stats.runs, engine.keyspace.size]).toEqual([1, 1, 1])
    expect(await client.send("MSET", ...pairs(8, "g"))).toBe("+OK\r\n")
    expect([gate.stats.runs, ear.stats.runs, ear.stats.skips.budget, engine.keyspace.size]).toEqual([9, 3, 6, 9])
    await client.send("MSET", ...pairs(20, "g"))
    expect([gate.stats.runs, gate.stats.skips.budget, ear.stats.runs, engine.keyspace.size]).toEqual([19, 10, 3, 21])
    await client.send("INCR", "g100")
    await client.send("APPEND", "g0", "w")
    expect([gate.stats.runs, ear.stats.runs]).toEqual([21, 5])
  })

  it("and the next command has the whole budget again", async () => {
    const engine = await connected({ cascade: { fuel: 3 * fuelOfOne } })
    const { stats } = engine.trigger({ source: idle })
    await load()
    for (let i = 0; i < 2; i++) await client.send("MSET", ...pairs(5))
    await transaction(["SET", "a", "1"], ["SET", "b", "1"])
    expect([stats.runs, stats.skips.budget]).toEqual([9, 4])
  })
})

it("a thousand keys of an MSET have their runs, all of them", async () => {
  const engine = await connected()
  const { stats } = engine.trigger({ source: 'if event.value == "x" then cache.set("seen", event.key) end' })
  expect(await client.send("MSET", ...pairs(1_000))).toBe("+OK\r\n")
  expect([stats.runs, stats.skips.budget, engine.log.total]).toEqual([1_000, 0, 0])
})

it("a DEL of many keys is an operation for each 64 of them, for it is not atomic", async () => {
  const engine = await connected({ cascade: { fuel: 65 * (runFuel + 20) } })
  const { stats } = engine.trigger({ events: ["ON_DELETE"], source: idle })
  await client.send("MSET", ...pairs(200))
  const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)
  expect(await client.send("DEL", ...keys)).toBe(":200\r\n")
  expect([stats.runs, stats.skips.budget]).toEqual([200, 0])
  await client.send("MSET", ...pairs(200))
  await transaction(["DEL", ...keys])
  expect(stats.runs + stats.skips.budget).toBe(400)
  expect(stats.skips.budget).toBeGreaterThan(100)
})

describe("what triggers see", () => {
  const there = 'cache.emit("x", event.key .. ":" .. (cache.get("to") or "-") .. (cache.get("from") or "-"))'

  it("of RENAME and MSET is all of it (law 5)", async () => {
    const engine = await connected()
    engine.trigger({ pattern: "from", events: ["ON_WRITE", "ON_DELETE"], source: there })
    await client.send("MSET", "from", "1", "to", "2")
    await client.send("RENAME", "from", "to")
    expect(engine.emits.map(({ payload }) => payload)).toEqual(["from:21", "from:1-"])
  })

  it("within EXEC comes command by command, and each command sees what they made of those before it", async () => {
    const engine = await connected()
    engine.trigger({
      pattern: "n",
      source: 'cache.set("double", tostring(2 * tonumber(event.value))) cache.emit("x", event.value)'
    })
    const replies = await transaction(["SET", "n", "2"], ["GET", "double"], ["SET", "n", "3"], ["GET", "double"])
    expect(replies.at(-1)).toBe("*4\r\n+OK\r\n$1\r\n4\r\n+OK\r\n$1\r\n6\r\n")
    expect(engine.emits.map(({ payload }) => payload)).toEqual(["2", "3"])
  })
})
