/** BEFORE_WRITE and BEFORE_DELETE as a client sees them (law 9): a refusal is an error, and has changed nothing. */
import { afterEach, beforeEach, expect, it } from "vitest"
import { Cause, causeBit, type Gate, type PendingWrite, parsePattern, type Watcher } from "../../../src/kernel/index.ts"
import { RawClient } from "../RawClient.ts"
import { startServer, type TestServer } from "../TestServer.ts"

let server: TestServer
let client: RawClient
/** What the gate was asked for. */
let asked: string[]
/** What it makes of a write of a key that begins with "up". */
let rewrite: (write: PendingWrite) => void

const gate: Gate = {
  beforeWrite(write) {
    asked.push(`write ${write.key}`)
    if (write.key.startsWith("up")) rewrite(write)
    return write.key.startsWith("no") ? "not\r\n+OK this one" : null
  },
  beforeDelete({ key }) {
    asked.push(`delete ${key}`)
    return key.startsWith("no") ? "stays" : null
  }
}

beforeEach(async () => {
  asked = []
  rewrite = (write) => {
    write.value = `${write.value}!`
  }
  server = await startServer({}, { gate })
  for (const key of ["no1", "no2", "up1", "a", "n"]) server.keyspace.set(key, "1")
  const mask = causeBit(Cause.beforeWrite) | causeBit(Cause.beforeDelete)
  server.keyspace.trie.add({ pattern: parsePattern("*"), mask, priority: 0 } as Watcher)
  client = await RawClient.connect(server.port)
})
afterEach(async () => {
  await client.close()
  await server.stop()
})

const contents = () => {
  const found: Record<string, unknown> = {}
  server.keyspace.scan(0, 1_000, ({ key, value }) => {
    found[key] = value
  })
  return found
}
const untouched = { no1: "1", no2: "1", up1: "1", a: "1", n: "1" }
const rejected = "-REJECTED not  +OK this one\r\n"
const stays = "-REJECTED stays\r\n"

it.each([
  [["SET", "no1", "2"], rejected],
  [["SET", "no1", "2", "GET"], rejected],
  [["SET", "no1", "2", "EX", "10", "META", "{}"], rejected],
  [["SETNX", "no3", "2"], rejected],
  [["SETEX", "no1", "10", "2"], rejected],
  [["GETSET", "no1", "2"], rejected],
  [["INCR", "no1"], rejected],
  [["INCRBYFLOAT", "no1", "1.5"], rejected],
  [["APPEND", "no1", "2"], rejected],
  [["SETRANGE", "no1", "0", "2"], rejected],
  [["MSET", "a", "2", "no1", "2", "b", "2"], rejected],
  [["MSETNX", "b", "2", "no3", "2"], rejected],
  [["RENAME", "a", "no1"], rejected],
  [["RENAMENX", "a", "no3"], rejected],
  [["GETDEL", "no1"], stays],
  [["DEL", "no1"], stays],
  [["UNLINK", "a", "no1", "n"], stays],
  [["RENAME", "no1", "b"], stays]
])("%j is refused, in one line, and changes nothing", async (command, reply) => {
  expect(await client.send(...command)).toBe(reply)
  expect(contents()).toEqual(untouched)
  expect(await client.send("PING")).toBe("+PONG\r\n")
})

it("counts refusals as errors", async () => {
  await client.send("SET", "no1", "2")
  expect(server.server.state.stats.errors).toBe(1)
  expect(server.keyspace.stats.rejected).toBe(1)
})

it("asks for every key before it changes the first, and once for each", async () => {
  expect(await client.send("MSET", "a", "2", "up1", "2", "b", "2")).toBe("+OK\r\n")
  expect(asked).toEqual(["write a", "write up1", "write b"])
  expect(contents()).toEqual({ ...untouched, a: "2", up1: "2!", b: "2" })
  asked = []
  expect(await client.send("DEL", "a", "none", "b", "a")).toBe(":2\r\n")
  expect(asked).toEqual(["delete a", "delete b", "delete a"])
  asked = []
  expect(await client.send("RENAME", "up1", "c")).toBe("+OK\r\n")
  expect(asked).toEqual(["delete up1", "write c"])
  expect(server.keyspace.peek("c")?.value).toBe("2!")
})

it("answers what was stored where the value was rewritten", async () => {
  rewrite = (write) => {
    write.value = String(Number(write.value) * 10)
  }
  expect(await client.send("INCR", "up1")).toBe(":20\r\n")
  expect(await client.send("INCRBYFLOAT", "up1", "0.5")).toBe("$3\r\n205\r\n")
  expect(await client.send("APPEND", "up1", "0")).toBe(":5\r\n")
  expect(await client.send("SETRANGE", "up1", "1", "1")).toBe(":6\r\n")
  expect(server.keyspace.peek("up1")?.value).toBe("215000")
  rewrite = (write) => {
    write.value = "none"
  }
  expect(await client.send("INCR", "up1")).toBe("$4\r\nnone\r\n")
})

it("keeps metadata and TTL through a rewritten INCR, and takes the gate's own where it gives them", async () => {
  rewrite = () => {}
  await client.send("SET", "up1", "1", "EX", "100", "META", '{"m":1}', "LOCAL")
  rewrite = (write) => {
    write.value = "7"
  }
  await client.send("INCR", "up1")
  expect(await client.send("TTL", "up1")).toBe(":100\r\n")
  expect(server.keyspace.peek("up1")).toMatchObject({ value: "7", isLocal: true, meta: { metadata: { m: 1 } } })
  rewrite = (write) => {
    write.expiresAtMs = 0
  }
  await client.send("INCR", "up1")
  expect(await client.send("TTL", "up1")).toBe(":-1\r\n")
})

it("refuses a value that became too large, in an MSET before anything is stored", async () => {
  rewrite = (write) => {
    write.value = "x".repeat(server.keyspace.maxBytes)
  }
  expect(await client.send("MSET", "a", "2", "up1", "2")).toMatch(/^-OOM an entry of at least \d+ bytes is larger/)
  expect(await client.send("INCR", "up1")).toMatch(/^-OOM/)
  expect(await client.send("RENAME", "a", "up1")).toMatch(/^-OOM/)
  expect(contents()).toEqual(untouched)
})

it("does not ask for an expiry, also when EXPIRE brings it at once", async () => {
  expect(await client.send("EXPIRE", "no1", "-1")).toBe(":1\r\n")
  expect(await client.send("GETEX", "no2", "EXAT", "1")).toBe("$1\r\n1\r\n")
  expect(asked).toEqual([])
  expect(server.keyspace.size).toBe(3)
})

it("refuses one command of a transaction and runs the others, as any error there", async () => {
  const replies = await client.pipeline([["MULTI"], ["SET", "no1", "2"], ["SET", "a", "2"], ["EXEC"]])
  expect(replies[3]).toBe(`*2\r\n${rejected}+OK\r\n`)
})

it("bounds how many keys a DEL asks for at once", async () => {
  const keys = Array.from({ length: server.server.state.settings.atomicKeysMax + 1 }, () => "a")
  expect(await client.send("DEL", ...keys)).toBe(
    "-ERR one command changes at most 16384 keys at once; send it in parts\r\n"
  )
  expect(asked).toEqual([])
})
