/** TRIGGER … over the wire with the program that `mimosa serve` runs: what is registered, told and tried is real. */
import { Layer, Logger, LogLevel, ManagedRuntime } from "effect"
import { afterEach, expect, it } from "vitest"
import { layerWith, Metrics, type Settings } from "../../src/App.ts"
import { CacheClock, TurnClock } from "../../src/cache/index.ts"
import { listeners } from "../../src/cli/listeners.ts"
import { listenerName as httpName } from "../../src/server/HttpListener.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { listenerName as respName } from "../../src/server/RespListener.ts"
import { metricsOf, ServerStats } from "../../src/server/ServerState.ts"
import { RawClient } from "./RawClient.ts"

let close = async () => {}
afterEach(() => close())

/** A client of a program with these settings, and what it has logged. */
const serving = async (settings: Settings) => {
  const clock = new TurnClock()
  const readiness = new Readiness([httpName, respName])
  const stats = new ServerStats()
  const ports = { host: "127.0.0.1", port: 0, httpPort: 0, password: undefined, enableDebugCommand: false }
  const program = layerWith(settings, [listeners({ ...ports, clock, readiness, stats })], {
    clock: Layer.succeed(CacheClock, clock)
  })
  const logged: string[] = []
  const logger = Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ logLevel, message }) => {
      if (logLevel._tag === LogLevel.Warning._tag) logged.push(String(message))
    })
  )
  const runtime = ManagedRuntime.make(Layer.provide(program, logger))
  const metrics = await runtime.runPromise(Metrics)
  metrics.register(...metricsOf(stats))
  const client = await RawClient.connect(readiness.portOf(respName) as number)
  close = async () => {
    await client.close()
    await runtime.dispose()
  }
  const ask = async (...args: string[]) => words(await client.send(...args))
  return { ask, logged, metrics }
}

/** The bulks and integers of a reply as words; an error as it is. */
const words = (reply: string) => reply.split("\r\n").filter((line) => line !== "" && !/^[$*]\d/.test(line))

const field = (reply: readonly string[], name: string) => reply[reply.indexOf(name) + 1]

it("TRIGGER TEST … HISTORY tries a source on what has happened, beside the one that runs", async () => {
  const { ask } = await serving({ eventLog: 100 })
  await ask(
    "TRIGGER",
    "SET",
    "large",
    "order:*",
    "ON_WRITE",
    'if #event.value > 3 then cache.set("large", event.key) end'
  )
  for (const [key, value] of [
    ["order:1", "10"],
    ["other", "1"],
    ["order:2", "20000"]
  ] as const) {
    expect(await ask("SET", key, value)).toEqual(["+OK"])
  }
  const same = await ask("TRIGGER", "TEST", "large", "HISTORY", "100")
  // Four writes are in the log, for the trigger made one of them.
  expect([field(same, "events"), field(same, "matched"), field(same, "current")]).toEqual([":4", ":2", "$-1"])
  expect(JSON.parse(field(same, "sum") as string)).toMatchObject({ ok: 2, failed: 0, writes: 1 })
  const other = await ask("TRIGGER", "TEST", "large", "SOURCE", 'cache.set("large", event.key)', "HISTORY", "100")
  expect(field(other, "differ")).toBe(":1")
  expect(JSON.parse(field(other, "current") as string)).toMatchObject({ writes: 1 })
  expect(JSON.parse(other.at(-2) as string)).toMatchObject({
    key: "order:1",
    event: "ON_WRITE",
    writes: [{ key: "large", value: "order:1" }],
    current: { writes: [] }
  })
  expect(await ask("GET", "large")).toEqual(["order:2"])
})

it("HISTORY says so where no events are kept, which is what a library does unless it is asked", async () => {
  const { ask, metrics } = await serving({})
  await ask("TRIGGER", "SET", "t", "*", "ON_WRITE", "return")
  expect(await ask("TRIGGER", "TEST", "t", "HISTORY", "5")).toEqual([
    "-ERR trigger: no events are kept to run it on; give the library's setting eventLog a number above 0 (mimosa serve keeps 1,000 unless --event-log says otherwise)"
  ])
  expect(metrics.render()).toContain('\nmimosa_clients_cut_total{reason="slow_subscriber"} 0\n')
})

it("triggers that go round in a circle are told of when they are registered, in INFO, and in GRAPH", async () => {
  const { ask, logged } = await serving({})
  await ask("TRIGGER", "SET", "there", "a:*", "ON_WRITE", 'cache.set("b:1", 1)')
  expect(logged).toEqual([])
  expect(await ask("TRIGGER", "SET", "back", "b:*", "ON_WRITE", 'cache.set("a:1", 1)')).toEqual(["+OK"])
  const circle = "sets itself off: 'back' → 'there' → 'back'; a cascade runs each trigger once for a key"
  expect(logged).toEqual([`a trigger ${circle}`])
  expect(field(await ask("TRIGGER", "INFO", "back"), "warnings")).toBe(Buffer.from(circle).toString("latin1"))
  const [graph] = await ask("TRIGGER", "GRAPH")
  expect(JSON.parse(graph as string)).toMatchObject({
    nodes: [{ name: "there", writes: { patterns: ["b:1"] } }, { name: "back" }],
    edges: [
      { from: "there", to: "back", isLater: false },
      { from: "back", to: "there" }
    ],
    cycles: [["there", "back"]]
  })
  await ask("TRIGGER", "DISABLE", "there")
  expect(field(await ask("TRIGGER", "INFO", "back"), "warnings")).toBe("runs")
})

it("DISABLED registers a trigger that runs on nothing until it is enabled", async () => {
  const { ask } = await serving({})
  await ask("TRIGGER", "SET", "copy", "k", "ON_WRITE", "DISABLED", 'cache.set("copy", event.value)')
  await ask("SET", "k", "1")
  expect(await ask("EXISTS", "copy")).toEqual([":0"])
  expect(field(await ask("TRIGGER", "INFO", "copy"), "status")).toBe("disabled")
  await ask("TRIGGER", "ENABLE", "copy")
  await ask("SET", "k", "2")
  expect(await ask("GET", "copy")).toEqual(["2"])
})

it("a trigger that fails too often is taken out after as many failures as the settings say", async () => {
  const { ask, metrics } = await serving({ intensity: { errorsMax: 2 } })
  await ask("TRIGGER", "SET", "bad", "*", "ON_WRITE", 'error("no")')
  for (let i = 0; i < 5; i++) await ask("SET", "k", "v")
  const info = await ask("TRIGGER", "INFO", "bad")
  expect([field(info, "status"), field(info, "failed_error"), field(info, "skipped_quarantined")]).toEqual([
    "quarantined",
    ":3",
    ":2"
  ])
  expect(metrics.render()).toContain("\nmimosa_triggers_quarantined 1\n")
})
