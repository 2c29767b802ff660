import { Effect, Exit, Logger, LogLevel, Scope } from "effect"
import { afterEach, beforeEach, expect, it } from "vitest"
import { ExitReason, type Pid, Process, Supervisor } from "../../src/actor/index.ts"
import { EventBus } from "../../src/cache/EventBus.ts"
import { TurnClock } from "../../src/cache/TurnClock.ts"
import { Keyspace } from "../../src/kernel/index.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { childSpec } from "../../src/server/RespListener.ts"
import { ServerStats } from "../../src/server/ServerState.ts"
import * as Port from "../servers/Port.ts"
import { encode, RawClient } from "./RawClient.ts"

let scope: Scope.CloseableScope
let root: Supervisor.SupervisorRef
let keyspace: Keyspace
let readiness: Readiness
let stats: ServerStats
const clients: RawClient[] = []

const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Logger.withMinimumLogLevel(effect, LogLevel.None))

const listen = (port: number) => {
  const clock = new TurnClock()
  const sink = { onEvent() {}, onSettled() {} }
  keyspace = new Keyspace({ maxEntries: 1_000, maxBytes: 1_000_000, sink, wake() {}, clock })
  const children = [childSpec({ keyspace, bus: new EventBus(), clock, port, readiness, stats })]
  return Scope.extend(Supervisor.start({ label: "root", children }), scope)
}

const client = async () => {
  const connected = await RawClient.connect(readiness.portOf("RESP") as number)
  clients.push(connected)
  await connected.send("PING")
  return connected
}

const resp = () => Supervisor.unsafeTree(root)?.children[0]
const connectionNodes = () => resp()?.children[0]?.children ?? []

/** Runs turns of the event loop until it holds. */
const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

beforeEach(async () => {
  scope = Effect.runSync(Scope.make())
  readiness = new Readiness(["RESP"])
  stats = new ServerStats()
  root = await run(listen(0))
})
afterEach(async () => {
  await run(Scope.close(scope, Exit.void))
  await Promise.all(clients.splice(0).map((each) => each.close()))
})

it("gives each connection a process, which ends with it", async () => {
  const [a, b] = [await client(), await client()]
  await a.send("CLIENT", "SETNAME", "first")
  await until(() => connectionNodes().length === 2)
  expect(connectionNodes().map(({ name, inspect }) => [name, inspect?.name])).toEqual([
    ["connection 1", "first"],
    ["connection 2", ""]
  ])
  await b.send("QUIT")
  await until(() => connectionNodes().length === 1)
  expect(await a.send("PING")).toBe("+PONG\r\n")
})

it("loses only the connection whose command crashed", async () => {
  const [a, b] = [await client(), await client()]
  const get = keyspace.get
  keyspace.get = () => {
    throw new Error("a defect")
  }
  await until(() => connectionNodes().length === 2)
  a.write(encode(["GET", "x"]))
  await a.closed
  keyspace.get = get
  await until(() => connectionNodes().length === 1)
  expect(connectionNodes()[0]?.name).toBe("connection 2")
  expect(await b.send("GET", "x")).toBe("$-1\r\n")
  expect(resp()?.restarts).toBe(0)
})

it("closes the socket when its process is killed", async () => {
  const a = await client()
  await until(() => connectionNodes().length === 1)
  const [pid] = processesLabelled("connection 1")
  Process.unsafeExit(pid as Pid.Pid, ExitReason.killed)
  await a.closed
  expect(await (await client()).send("PING")).toBe("+PONG\r\n")
})

it("comes back on its port with the keys it had when the listener crashes", async () => {
  await run(Scope.close(scope, Exit.void))
  scope = Effect.runSync(Scope.make())
  readiness = new Readiness(["RESP"])
  const port = await Port.free()
  root = await run(listen(port))
  const a = await client()
  await a.send("SET", "k", "v")
  const [pid] = processesLabelled("listener")
  Process.unsafeExit(pid as Pid.Pid, ExitReason.crashWith("from the test"))
  await a.closed
  await until(() => readiness.portOf("RESP") === port && pid !== processesLabelled("listener")[0])
  expect(await (await client()).send("GET", "k")).toBe("$1\r\nv\r\n")
})

it("comes back on the port it had where a free one was asked for, and takes new clients, after a kill", async () => {
  const port = readiness.portOf("RESP") as number
  const a = await client()
  const [pid] = processesLabelled("listener")
  Process.unsafeExit(pid as Pid.Pid, ExitReason.killed)
  await a.closed
  await until(() => readiness.portOf("RESP") !== undefined && pid !== processesLabelled("listener")[0])
  expect(readiness.portOf("RESP")).toBe(port)
  expect(await (await client()).send("PING")).toBe("+PONG\r\n")
})

it("counts the clients that are connected, whatever CONFIG RESETSTAT zeroes", async () => {
  const a = await client()
  const b = await client()
  await a.send("CONFIG", "RESETSTAT")
  expect([stats.connections, stats.connected]).toEqual([0, 2])
  await b.send("QUIT")
  await until(() => stats.connected === 1)
})

it("does not start on a port that is taken, and says which", async () => {
  const port = readiness.portOf("RESP") as number
  readiness = new Readiness(["RESP"])
  const exit = await Effect.runPromiseExit(Logger.withMinimumLogLevel(listen(port), LogLevel.None))
  const failed = `"listener": "RESP", "host": "127.0.0.1", "port": ${port}, "cause": { "code": "EADDRINUSE"`
  expect(String(exit).replace(/\s+/g, " ")).toContain(failed)
})

const processesLabelled = (label: string): Pid.Pid[] =>
  Process.list().filter((pid) => Process.info(pid)?.label === label)
