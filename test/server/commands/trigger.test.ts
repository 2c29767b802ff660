/** TRIGGER … as a client sees it, over an engine that records what it is asked. */
import { afterEach, beforeEach, expect, it } from "vitest"
import type { TriggerPort } from "../../../src/server/commands/TriggerPort.ts"
import { LogStreams } from "../../../src/triggers/LogStreams.ts"
import type { RegisteredTrigger } from "../../../src/triggers/Trigger.ts"
import { RawClient } from "../RawClient.ts"
import { startServer, type TestServer } from "../TestServer.ts"

const registered: RegisteredTrigger = {
  name: "t1",
  pattern: "session:*",
  events: ["ON_WRITE", "ON_EXPIRE"],
  source: "-- é",
  timeoutUs: 100,
  memoryBytes: 65536,
  priority: 2,
  status: "active",
  quarantine: null,
  registeredAtMs: 5,
  runs: 7,
  ...{ whenChanged: true, sample: 2, includeFill: true, includeFlush: false, scope: "local" },
  ...{ failClosed: false, isolate: false, isEnabled: true, probeAtMs: null, isSlower: true, version: 3, shadow: null },
  failures: { error: 1, timeout: 2, memory: 0, killed: 0, rejected: 0 },
  skips: { repeat: 0, depth: 0, budget: 1, quarantined: 0, no_vm: 0, sampled: 0, derived: 0 },
  bytesMax: 12,
  rejects: 0,
  usP50: 1,
  usP99: 2,
  fuel: 10,
  writes: 1,
  deletes: 0,
  emits: 0,
  webhooks: 0,
  webhooksSuppressed: 0,
  logs: 0,
  warms: 0,
  usMean: 1.25,
  usMax: 3
}

let asked: unknown[]
const port: TriggerPort = {
  forTenant: () => port,
  set: async (input) => {
    asked.push(input)
    if (input.source === "bad") throw new Error("source: t1:1:1: é is wrong")
    return registered
  },
  remove: async (name) => name === "t1",
  enable: async (...enabled) => {
    asked.push(enabled)
    return registered
  },
  versions: async () => ({
    live: 2,
    versions: [1, 2].map((version) => ({ version, registeredAtMs: 5, definition: registered }))
  }),
  rollback: async (name, version) => {
    asked.push([name, version])
    if (version === 9) throw new Error("trigger 't1' has no version 9; there are 1, 2")
    return { ...registered, version: version ?? 1 }
  },
  shadow: async (...shadow) => {
    asked.push(shadow)
    return registered
  },
  dropShadow: async (name) => name === "t1",
  promote: async () => registered,
  testHistory: (...subject) => {
    asked.push(subject)
    const sum = { ok: 0, failed: 0, writes: 0, deletes: 0, emits: 0, webhooks: 0, logs: 0, warms: 0, fuel: 0 }
    return { events: 3, matched: 2, runs: [], sum, current: sum, cut: { runs: 2, changes: 7 } }
  },
  list: () => [registered, { ...registered, name: "u2" }],
  info: (name) => (name === "t1" ? registered : undefined),
  warnings: () => ["é 'a' → 'a'"],
  graph: () => ({ nodes: [], edges: [], cycles: [["é"]], isTruncated: false }),
  test: (...subject) => {
    asked.push(subject)
    return {
      status: "ok",
      result: { a: "é" },
      error: null,
      writes: [{ key: "k", value: 1, ttlMs: null, metadata: null, tags: [], cost: 0 }],
      deletes: [],
      emits: [],
      webhooks: [],
      logs: [],
      warms: [],
      us: 1.26,
      fuel: 9,
      bytes: 8
    }
  },
  log: (count) => {
    asked.push(count)
    const failed = { trigger: "t1", event: "ON_WRITE", sequence: 4, kind: "timeout", count: 1, message: "é" } as const
    return [{ id: 3, atMs: 6, key: "k\0", ...failed }]
  },
  logs: new LogStreams()
}

let server: TestServer
let client: RawClient

beforeEach(async () => {
  asked = []
  server = await startServer({ triggers: port })
  client = await RawClient.connect(server.port)
})
afterEach(async () => {
  await client.close()
  await server.stop()
})

/** The bulks and integers of a reply as words. */
const words = (reply: string) => reply.split("\r\n").filter((line) => line !== "" && !/^[$*]\d/.test(line))

it("TRIGGER SET hands the definition over, its source as text", async () => {
  const options = ["TIMEOUT", "500", "memory", "2048", "PRIORITY", "-1"]
  const source = "return '\xc3\xa9'"
  expect(await client.send("TRIGGER", "SET", "t1", "a:*", "on_write,ON_READ", ...options, source)).toBe("+OK\r\n")
  const events = ["ON_WRITE", "ON_READ"]
  const limits = { timeoutUs: 500, memoryBytes: 2048, priority: -1 }
  expect(asked).toEqual([{ name: "t1", pattern: "a:*", events, source: "return 'é'", ...limits }])
})

it.each([
  [["t1", "a", "ON_WRITE", "bad"], "-ERR trigger: source: t1:1:1: \xc3\xa9 is wrong\r\n"],
  [
    ["t1", "a", "ON_WRITE", "SIMPLE", "3", "x"],
    "-ERR trigger: 'SIMPLE' is no option; use TIMEOUT, MEMORY, PRIORITY, WHEN CHANGED, SAMPLE, INCLUDE, SCOPE, FAILCLOSED, ISOLATE or DISABLED, then the source\r\n"
  ],
  [
    ["t1", "a", "ON_WRITE", "TIMEOUT", "x", "x"],
    "-ERR trigger: TIMEOUT takes a whole number, then the source follows\r\n"
  ],
  [["t1", "a", "ON_WRITE", "TIMEOUT", "5"], "-ERR trigger: TIMEOUT takes a whole number, then the source follows\r\n"],
  [["t1", "a", "ON_WRITE", "\xff"], "-ERR trigger: source: is not UTF-8\r\n"],
  [["t1", "a", "ON_WRITE"], "-ERR wrong number of arguments for 'trigger|set' command\r\n"]
])("TRIGGER SET %j is refused", async (args, reply) => {
  expect(await client.send("TRIGGER", "SET", ...args)).toBe(reply)
})

it("TRIGGER DEL and REMOVE say whether there was one, and may not stand in a transaction", async () => {
  expect(await client.send("TRIGGER", "DEL", "t1")).toBe(":1\r\n")
  expect(await client.send("TRIGGER", "REMOVE", "t2")).toBe(":0\r\n")
  await client.send("MULTI")
  expect(await client.send("TRIGGER", "DEL", "t1")).toBe("-ERR Command not allowed inside a transaction\r\n")
})

it("TRIGGER LIST shows those whose name matches", async () => {
  const all = await client.send("TRIGGER", "LIST")
  expect(all.slice(0, 4)).toBe("*2\r\n")
  const listed = ["name", "u2", "pattern", "session:*", "events", "ON_WRITE,ON_EXPIRE", "status", "active"]
  listed.push("version", ":3", "slower", ":1")
  const numbers = ["priority", ":2", "timeout_us", ":100", "memory_bytes", ":65536"]
  const options = ["options", "WHEN CHANGED SAMPLE 2 INCLUDE fill SCOPE local"]
  numbers.push(...options, "runs", ":7", "errors", ":3")
  expect(words(await client.send("TRIGGER", "LIST", "u*"))).toEqual([...listed, ...numbers])
})

it("TRIGGER LIST is written over as many turns as it takes, within a transaction in one", async () => {
  await client.close()
  await server.stop()
  let nowMs = 0
  const many = Array.from({ length: 400 }, (_, i) => ({ ...registered, name: `t${i}` }))
  let turn = () => 0
  const turnsOf: number[] = [] // in which each was come to
  const list = function* () {
    for (const trigger of many) {
      turnsOf.push(turn())
      yield trigger
    }
  }
  server = await startServer({ triggers: { ...port, list }, turnMs: 2, monotonicMs: () => nowMs++ })
  client = await RawClient.connect(server.port)
  const { turns } = server.server.state
  turn = () => turns.yields
  const names = (reply: string) => reply.match(/(?<=name\r\n\$\d+\r\n)t\d+/g)
  const all = await client.send("TRIGGER", "LIST")
  expect(all.startsWith("*400\r\n")).toBe(true)
  expect(names(all)).toEqual(many.map(({ name }) => name))
  expect(turns.yields).toBeGreaterThan(20)
  expect([turnsOf[0], turnsOf.at(-1)]).toEqual([0, turns.yields])
  const before = turns.yields
  const [, , executed] = await client.pipeline([["MULTI"], ["TRIGGER", "LIST"], ["EXEC"]])
  expect(names(executed as string)?.length).toBe(400)
  expect(turns.yields).toBe(before)
})

it("TRIGGER LIST that would be too long is refused", async () => {
  await client.close()
  await server.stop()
  server = await startServer({ triggers: port, replyBytesMax: 100 })
  client = await RawClient.connect(server.port)
  expect(await client.send("TRIGGER", "LIST")).toMatch(/^-ERR .*100/)
  expect(await client.send("TRIGGER", "LIST", "nobody")).toBe("*0\r\n")
})

it("TRIGGER SET takes no option by the name of an object's own method", async () => {
  for (const option of ["constructor", "__proto__", "toString"]) {
    expect(await client.send("TRIGGER", "SET", "t", "a*", "ON_WRITE", option, "5", "return")).toMatch(/^-ERR/)
  }
  expect(asked).toEqual([])
})

it("TRIGGER INFO shows everything, and names what is not there", async () => {
  const info = words(await client.send("TRIGGER", "INFO", "t1"))
  const shown = (field: string) => info[info.indexOf(field) + 1]
  expect(["failed_timeout", "skipped_budget", "us_mean", "source"].map(shown)).toEqual([
    ":2",
    ":1",
    "1.3",
    "-- \xc3\xa9"
  ])
  expect(await client.send("TRIGGER", "INFO", "x")).toBe("-ERR trigger: no trigger is named 'x'\r\n")
})

it("TRIGGER TEST takes a name or a source, and shows what would happen", async () => {
  const report = await client.send("TRIGGER", "TEST", "t1", "ON_WRITE", "k\xff", "new", "OLD", "old", "META", '{"a":1}')
  expect(words(report).slice(0, 8)).toEqual([
    "status",
    "ok",
    "result",
    '{"a":"\xc3\xa9"}',
    "error",
    "$-1",
    "writes",
    expect.stringContaining('"key":"k"')
  ])
  expect(words(report).at(-2)).toBe("warning")
  expect(words(report).at(-1)).toMatch(/ is not matched by session:\*; this trigger would not run$/)
  await client.send("TRIGGER", "TEST", "SOURCE", "return 1", "on_read", "k", "v")
  await client.send("TRIGGER", "TEST", "source", "ON_READ", "k", "v")
  expect(asked).toEqual([
    [{ name: "t1" }, { event: "ON_WRITE", key: "k\xff", value: "new", oldValue: "old", metadata: { a: 1 } }],
    [{ source: "return 1" }, { event: "ON_READ", key: "k", value: "v" }],
    [{ name: "source" }, { event: "ON_READ", key: "k", value: "v" }]
  ])
  expect(await client.send("TRIGGER", "TEST", "t1", "ON_FIRE", "k", "v")).toMatch(
    /^-ERR trigger: event: 'ON_FIRE' is none of ON_WRITE/
  )
})

it("TRIGGER LOG shows the last records", async () => {
  expect(words(await client.send("TRIGGER", "LOG", "5"))).toEqual([
    "id",
    ":3",
    "at_ms",
    ":6",
    "trigger",
    "t1",
    "event",
    "ON_WRITE",
    "sequence",
    ":4",
    "key",
    "k\0",
    "kind",
    "timeout",
    "count",
    ":1",
    "message",
    "\xc3\xa9"
  ])
  expect(asked).toEqual([5])
  expect(await client.send("TRIGGER", "LOG", "-1")).toBe("-ERR value is out of range, must be positive\r\n")
})

it("TRIGGER HELP lists what there is", async () => {
  expect(await client.send("TRIGGER", "HELP")).toContain("+SET <name> <pattern> <EVENT>[,<EVENT>...]")
})

it("says so where the server runs without triggers", async () => {
  const bare = await startServer()
  const other = await RawClient.connect(bare.port)
  expect(await other.send("TRIGGER", "LIST")).toBe("-ERR trigger: this server runs without triggers\r\n")
  await other.close()
  await bare.stop()
})

it("TRIGGER SET takes its options in any order, and says which word is wrong", async () => {
  const send = (...options: string[]) => client.send("TRIGGER", "SET", "t", "a*", "ON_WRITE", ...options, "return")
  expect(
    await send("isolate", "scope", "LOCAL", "WHEN", "changed", "SAMPLE", "3", "INCLUDE", "fill", "FAILCLOSED")
  ).toBe("+OK\r\n")
  const options = { isolate: true, scope: "local", whenChanged: true, sample: 3, includeFill: true, failClosed: true }
  expect(asked).toEqual([{ name: "t", pattern: "a*", events: ["ON_WRITE"], source: "return", ...options }])
  expect(await send("WHEN", "always")).toBe("-ERR trigger: WHEN takes CHANGED, then the source follows\r\n")
  expect(await send("INCLUDE")).toBe("-ERR trigger: INCLUDE takes fill or flush, then the source follows\r\n")
})

it("TRIGGER REGISTER makes a name of pattern and events, the same for the same", async () => {
  const register = (pattern: string, events: string) => client.send("TRIGGER", "REGISTER", pattern, events, "return")
  const name = await register("session:*", "ON_EXPIRE")
  expect(words(name)).toEqual(["session:_all:ON_EXPIRE"])
  expect(await register("session:*", "on_expire")).toBe(name)
  const others = [await register("session:_*", "ON_EXPIRE"), await register("session:*", "ON_WRITE")]
  expect(new Set([name, ...others]).size).toBe(3)
  expect(words(await register("k".repeat(300), "ON_READ"))[0]?.length).toBe(128)
})

it("TRIGGER ENABLE, DISABLE, VERSIONS, ROLLBACK and SHADOW ask the engine", async () => {
  expect(await client.send("TRIGGER", "ENABLE", "t1")).toBe("+OK\r\n")
  expect(await client.send("TRIGGER", "DISABLE", "t1")).toBe("+OK\r\n")
  expect(await client.send("TRIGGER", "ROLLBACK", "t1")).toBe(":1\r\n")
  expect(await client.send("TRIGGER", "ROLLBACK", "t1", "2")).toBe(":2\r\n")
  const missing = "-ERR trigger: trigger 't1' has no version 9; there are 1, 2\r\n"
  expect(await client.send("TRIGGER", "ROLLBACK", "t1", "9")).toBe(missing)
  expect(await client.send("TRIGGER", "SHADOW", "t1", "TIMEOUT", "50", "return 2")).toBe("+OK\r\n")
  expect(await client.send("TRIGGER", "SHADOW", "t1", "drop")).toBe(":1\r\n")
  expect(await client.send("TRIGGER", "SHADOW", "t1", "PROMOTE")).toBe("+OK\r\n")
  expect(asked).toEqual([
    ["t1", true],
    ["t1", false],
    ["t1", undefined],
    ["t1", 2],
    ["t1", 9],
    ["t1", { timeoutUs: 50, source: "return 2" }]
  ])
  const versions = words(await client.send("TRIGGER", "VERSIONS", "t1"))
  expect(versions.slice(0, 4)).toEqual(["version", ":2", "live", ":1"])
})

it("TRIGGER TEST … HISTORY tries a trigger, a source, or one in the place of the other", async () => {
  const tested = async (...args: string[]) => words(await client.send("TRIGGER", "TEST", ...args, "HISTORY", "20"))
  const cut = ["cut_runs", ":2", "cut_changes", ":7"]
  expect((await tested("t1")).slice(0, 8)).toEqual(["events", ":3", "matched", ":2", ...cut])
  await tested("SOURCE", "return")
  await tested("t1", "SOURCE", "return")
  expect(asked).toEqual([
    [{ name: "t1" }, 20],
    [{ source: "return" }, 20],
    [{ name: "t1", source: "return" }, 20]
  ])
})
