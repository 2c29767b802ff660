/** LOGS as a client sees it. */
import { afterEach, beforeEach, expect, it } from "vitest"
import type { TriggerPort } from "../../../src/server/commands/TriggerPort.ts"
import { LogStreams } from "../../../src/triggers/LogStreams.ts"
import { RawClient } from "../RawClient.ts"
import { startServer, type TestServer } from "../TestServer.ts"

let logs: LogStreams
let server: TestServer
let client: RawClient

const log = (stream: string | null, message: string | null, fields: Record<string, unknown> | null = null) =>
  logs.append({
    stream,
    message,
    fields,
    atMs: 5,
    trigger: "t",
    event: "ON_WRITE",
    key: "k\xff",
    cascade: undefined
  })

beforeEach(async () => {
  logs = new LogStreams({ linesMax: 3 })
  server = await startServer({ triggers: { logs } as Partial<TriggerPort> as TriggerPort })
  client = await RawClient.connect(server.port)
})
afterEach(async () => {
  await client.close()
  await server.stop()
})

/** The bulks and integers of a reply as words. */
const words = (reply: string) => reply.split("\r\n").filter((line) => line !== "" && !/^[$*]\d/.test(line))

const numbers = async (...args: readonly string[]) => {
  const said = words(await client.send("LOGS", ...args))
  return said.filter((_, at) => said[at - 1] === "number")
}

it("lists the streams with what they hold and have dropped", async () => {
  expect(await client.send("LOGS")).toBe("*0\r\n")
  for (let i = 0; i < 4; i++) log("ö", "said")
  log(null, "said")
  const bytes = logs.list().map((stream) => `:${stream.bytes}`)
  expect(words(await client.send("logs"))).toEqual([
    ...["stream", "default", "lines", ":1", "bytes", bytes[0], "first", ":1", "last", ":1", "dropped", ":0"],
    ...["last_at_ms", ":5"],
    ...["stream", Buffer.from("ö").toString("latin1"), "lines", ":3", "bytes", bytes[1]],
    ...["first", ":2", "last", ":4", "dropped", ":1", "last_at_ms", ":5"]
  ])
})

it("answers the lines of a stream with where they came from", async () => {
  log("ö", null, { n: 1 })
  const stream = Buffer.from("ö").toString("latin1")
  expect(words(await client.send("LOGS", stream))).toEqual([
    ...["number", ":1", "at_ms", ":5", "stream", stream, "message", "$-1", "fields", '{"n":1}', "trigger", "t"],
    ...["event", "ON_WRITE", "cascade", "$-1", "key", "k\xff"]
  ])
})

it("answers maps and nulls over RESP3", async () => {
  log(null, "said")
  await client.send("HELLO", "3")
  expect(await client.send("LOGS", "default")).toMatch(
    /^\*1\r\n%9\r\n\$6\r\nnumber\r\n:1\r\n[\s\S]*\r\nfields\r\n_\r\n/
  )
})

it("reads on from a number, and no more than asked for", async () => {
  for (let i = 0; i < 5; i++) log("s", "said")
  expect(await numbers("s")).toEqual([":3", ":4", ":5"])
  expect(await numbers("s", "COUNT", "2")).toEqual([":4", ":5"])
  expect(await numbers("s", "AFTER", "3", "COUNT", "1")).toEqual([":4"])
  expect(await numbers("s", "count", "1", "after", "0")).toEqual([":3"])
  expect(await numbers("s", "AFTER", "5")).toEqual([])
  expect(await numbers("other")).toEqual([])
})

it.each([
  [["s", "SINCE", "1"], "-ERR syntax error\r\n"],
  [["s", "AFTER"], "-ERR syntax error\r\n"],
  [["s", "AFTER", "x"], "-ERR value is not an integer or out of range\r\n"],
  [["s", "COUNT", "-1"], "-ERR value is out of range, must be positive\r\n"]
])("refuses %j", async (args, error) => {
  expect(await client.send("LOGS", ...args)).toBe(error)
})

it("says where a server has no triggers", async () => {
  const bare = await startServer()
  const other = await RawClient.connect(bare.port)
  expect(await other.send("LOGS")).toBe("-ERR trigger: this server runs without triggers\r\n")
  await other.close()
  await bare.stop()
})
