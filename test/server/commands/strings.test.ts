/** What Redis has not: structured values, metadata, tags and cost. The rest is compared with Redis itself. */
import { afterEach, beforeEach, expect, it } from "vitest"
import { toFloat, type Value } from "../../../src/kernel/index.ts"
import { RawClient } from "../RawClient.ts"
import { startServer, type TestServer } from "../TestServer.ts"

let server: TestServer
let client: RawClient

beforeEach(async () => {
  server = await startServer()
  client = await RawClient.connect(server.port)
})
afterEach(async () => {
  await client.close()
  await server.stop()
})

const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`
const meta = async (key: string) => JSON.parse((await client.send("META", key)).split("\r\n")[1] as string)

it.each<readonly [Value, string]>([
  [{ a: [1, true, null, "é"] }, '{"a":[1,true,null,"\xc3\xa9"]}'],
  [5, "5"],
  [toFloat(1), "1.0"],
  [Number.NaN, '{"$float":"nan"}'],
  [2n ** 62n, "4611686018427387904"],
  [2n ** 70n, '{"$int":"1180591620717411303424"}'],
  [[new Uint8Array([255])], '[{"$bytes":"/w=="}]'],
  [{ $set: 1 }, '{"$object":[["$set",1]]}'],
  [new Map([[true, 1.5]]), '{"$map":[[true,1.5]]}']
] as const)("shows structured values as exact JSON (%#)", async (value, json) => {
  server.keyspace.set("s", value)
  expect(await client.send("GET", "s")).toBe(bulk(json))
  expect(await client.send("STRLEN", "s")).toBe(`:${json.length}\r\n`)
  expect(await client.send("GETRANGE", "s", "0", "1")).toBe(bulk(json.slice(0, 2)))
  expect(await client.send("TYPE", "s")).toBe("+string\r\n")
  expect(await client.send("OBJECT", "ENCODING", "s")).toBe(bulk("structured"))
})

it("counts a structured integer up and keeps it one, beyond 2^53 too", async () => {
  server.keyspace.set("n", 41)
  expect(await client.send("INCR", "n")).toBe(":42\r\n")
  expect(server.keyspace.peek("n")?.value).toBe(42)
  expect(await client.send("INCRBY", "n", String(2 ** 53))).toBe(":9007199254741034\r\n")
  expect(server.keyspace.peek("n")?.value).toBe(9007199254741034n)
  expect(await client.send("INCRBY", "n", "9223372036854775807")).toBe("-ERR increment or decrement would overflow\r\n")
  server.keyspace.set("f", 1.5)
  expect(await client.send("INCR", "f")).toBe("-ERR value is not an integer or out of range\r\n")
  expect(await client.send("INCRBYFLOAT", "f", "0.25")).toBe(bulk("1.75"))
  expect(server.keyspace.peek("f")?.value).toBe(1.75)
})

it("adds to a float as to a float and to an integer as to an integer, also where the sum is whole", async () => {
  server.keyspace.set("f", toFloat(2))
  expect(await client.send("INCR", "f")).toBe("-ERR value is not an integer or out of range\r\n")
  expect(await client.send("INCRBYFLOAT", "f", "1")).toBe(bulk("3"))
  expect(await client.send("GET", "f")).toBe(bulk("3.0"))
  server.keyspace.set("i", 2)
  expect(await client.send("INCRBYFLOAT", "i", "1")).toBe(bulk("3"))
  expect(await client.send("GET", "i")).toBe(bulk("3"))
  expect(await client.send("INCRBYFLOAT", "i", "0.5")).toBe(bulk("3.5"))
  expect(server.keyspace.peek("i")?.value).toBe(3.5)
  server.keyspace.set("l", 2n ** 53n)
  expect(await client.send("INCRBYFLOAT", "l", "1")).toBe(bulk("9007199254740993"))
  expect(server.keyspace.peek("l")?.value).toBe(2n ** 53n + 1n)
})

it("keeps the floats of metadata apart from its integers", async () => {
  await client.send("SET", "m", "v", "META", '{"a":1,"b":1.0,"$c":{"$bytes":"/w=="}}')
  expect(await client.send("META", "m")).toContain(
    '{"metadata":{"$object":[["a",1],["b",1.0],["$c",{"$bytes":"/w=="}]]},'
  )
  const refused = "-ERR META is not a JSON object of at most 64 KiB and 16 levels\r\n"
  expect(await client.send("SET", "m", "v", "META", '{"$map":[[1,2]]}')).toBe(refused)
})

it("refuses to change a structured value as if it were bytes", async () => {
  server.keyspace.set("s", [1])
  const refused = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
  expect(await client.send("APPEND", "s", "x")).toBe(refused)
  expect(await client.send("SETRANGE", "s", "0", "x")).toBe(refused)
  expect(server.keyspace.peek("s")?.value).toEqual([1])
})

it("attaches metadata, tags and cost, and shows them", async () => {
  const set = [
    "SET",
    "a",
    "1",
    "EX",
    "100",
    "META",
    '{"user":"\xc3\xa9"}',
    "TAGS",
    "2",
    "x",
    "y",
    "COST",
    "2.5",
    "LOCAL"
  ]
  expect(await client.send(...set)).toBe("+OK\r\n")
  expect(await meta("a")).toEqual({ metadata: { user: "Ã©" }, tags: ["x", "y"], cost: 2.5, version: 1, local: true })
  expect(server.keyspace.peek("a")?.meta.metadata).toEqual({ user: "é" })
  expect(await client.send("META", "none")).toBe("$-1\r\n")
})

it("lets the cluster tell of an expiry where there is one, and the key is no local one", async () => {
  expect(await client.send("SET", "a", "1", "EX", "100", "OWNER", "cluster")).toBe("+OK\r\n")
  expect(await client.send("SET", "a", "2", "KEEPTTL", "owner", "CLUSTER")).toBe("+OK\r\n")
  expect(await client.send("SET", "a", "3", "OWNER", "writer")).toBe("+OK\r\n")
  const without = "-ERR OWNER cluster needs a time to live: EX, PX, EXAT, PXAT or KEEPTTL\r\n"
  expect(await client.send("SET", "a", "4", "OWNER", "cluster")).toBe(without)
  const local = "-ERR OWNER cluster and LOCAL exclude each other\r\n"
  expect(await client.send("SET", "a", "4", "LOCAL", "EX", "9", "OWNER", "cluster")).toBe(local)
  expect(await client.send("SET", "a", "4", "OWNER", "me")).toBe("-ERR OWNER is writer or cluster\r\n")
  expect(await client.send("SET", "a", "4", "OWNER")).toBe("-ERR syntax error\r\n")
  expect(server.keyspace.peek("a")?.value).toBe("3")
})

it("keeps them on INCR, APPEND, EXPIRE and SET … KEEPMETA, and replaces them on SET", async () => {
  await client.send("SET", "a", "1", "META", '{"m":1}', "TAGS", "1", "t", "COST", "3", "LOCAL")
  const kept = { metadata: { m: 1 }, tags: ["t"], cost: 3, local: true }
  await client.send("INCR", "a")
  await client.send("APPEND", "a", "0")
  await client.send("EXPIRE", "a", "100")
  expect(await meta("a")).toMatchObject(kept)
  await client.send("SET", "a", "2", "KEEPMETA", "LOCAL", "KEEPTTL")
  expect(await meta("a")).toMatchObject(kept)
  expect(await client.send("TTL", "a")).toBe(":100\r\n")
  await client.send("RENAME", "a", "b")
  expect(await meta("b")).toMatchObject(kept)
  await client.send("SET", "b", "3")
  expect(await meta("b")).toMatchObject({ metadata: null, tags: [], cost: 0, local: false })
})

it.each([
  [["META", "[1]"], "-ERR META is not a JSON object of at most 64 KiB and 16 levels\r\n"],
  [
    ["META", `{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`],
    "-ERR META is not a JSON object of at most 64 KiB and 16 levels\r\n"
  ],
  [["META", "{"], "-ERR META is not a JSON object of at most 64 KiB and 16 levels\r\n"],
  [["META"], "-ERR syntax error\r\n"],
  [["COST", "-1"], "-ERR COST is not a number of zero or more\r\n"],
  [["COST", "x"], "-ERR COST is not a number of zero or more\r\n"],
  [["TAGS", "0"], "-ERR TAGS takes a count from 1 to 64, then that many tags\r\n"],
  [["TAGS", "65"], "-ERR TAGS takes a count from 1 to 64, then that many tags\r\n"],
  [["TAGS", "2", "x"], "-ERR syntax error\r\n"],
  [["KEEPMETA", "META", "{}"], "-ERR syntax error\r\n"],
  [["COST", "1", "KEEPMETA"], "-ERR syntax error\r\n"]
])("refuses SET … %j and stores nothing", async (options, reply) => {
  expect(await client.send("SET", "a", "1", ...options)).toBe(reply)
  expect(server.keyspace.size).toBe(0)
})
