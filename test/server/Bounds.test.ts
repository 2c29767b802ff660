/** Law 15 on the wire: what a client may have us hold or build, and what happens at each limit. */
import { afterEach, expect, it } from "vitest"
import type { RespServerOptions } from "../../src/server/RespServer.ts"
import { encode, RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

let server: TestServer
const clients: RawClient[] = []

const start = async (options: Partial<RespServerOptions> = {}) => {
  server = await startServer(options)
}
const client = async () => {
  const connected = await RawClient.connect(server.port)
  clients.push(connected)
  return connected
}
const nextRound = () => new Promise((resolve) => setImmediate(resolve))
/** Until everybody has gone. */
const allGone = async () => {
  while (server.server.connections().size > 0) await nextRound()
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((each) => each.close()))
  await server.stop()
})

// What is built

it("refuses an MGET whose reply would be too long, before it is put together", async () => {
  await start({ replyBytesMax: 100_000 })
  const each = await client()
  await each.send("SET", "big", "x".repeat(30_000))
  const refused = "-ERR the reply would be longer than 100000 bytes; ask for it in parts\r\n"
  expect(await each.send("MGET", "big", "big", "big", "big")).toBe(refused)
  expect(await each.send("MGET", "big", "big", "big")).toHaveLength(90_034)
  expect(server.keyspace.stats.hits).toBe(7)
})

it("refuses a KEYS whose reply would be too long", async () => {
  await start({ replyBytesMax: 5_000 })
  const each = await client()
  for (let i = 0; i < 10; i++) await each.send("SET", `${i}${"k".repeat(600)}`, "1")
  expect(await each.send("KEYS", "*")).toBe("-ERR the reply would be longer than 5000 bytes; ask for it in parts\r\n")
  expect(await each.send("KEYS", "[0-5]*")).toMatch(/^\*6\r\n/)
})

it("disconnects a client whose transaction answers too much, after all of it has been done", async () => {
  await start({ replyBytesMax: 100_000 })
  const each = await client()
  await each.send("SET", "big", "x".repeat(30_000))
  const gets = Array.from({ length: 50 }, () => ["GET", "big"])
  each.write([["MULTI"], ...gets, ["SET", "done", "1"], ["EXEC"]].map(encode).join(""))
  await each.closed
  expect(server.server.state.stats.replyOverflows).toBe(1)
  expect(server.keyspace.peek("done")?.value).toBe("1")
})

it("disconnects a client that asks one command for endless words", async () => {
  await start({ replyBytesMax: 100_000 })
  const each = await client()
  each.write(encode(["COMMAND", "INFO", ...Array.from({ length: 10_000 }, () => "get")]))
  await each.closed
  expect(server.server.state.stats.replyOverflows).toBe(1)
})

// What is kept

it("takes only short commands from who has not said the password, in Redis' words", async () => {
  await start({ password: "secret" })
  for (const [bytes, reason] of [
    ["*11\r\n", "unauthenticated multibulk length"],
    ["*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"]
  ] as const) {
    const each = await client()
    each.write(bytes)
    expect(await each.reply()).toBe(`-ERR Protocol error: ${reason}\r\n`)
    await each.closed
  }
  const each = await client()
  await each.send("AUTH", "secret")
  expect(await each.send("SET", "a", "x".repeat(20_000))).toBe("+OK\r\n")
  expect(await each.send("DEL", ..."abcdefghijkl")).toBe(":1\r\n")
  await each.send("RESET")
  each.write("*11\r\n")
  expect(await each.reply()).toBe("-ERR Protocol error: unauthenticated multibulk length\r\n")
})

it("takes the password and a long command in one portion", async () => {
  await start({ password: "secret" })
  const each = await client()
  const long = ["MGET", ..."abcdefghijklmnop"]
  expect(await each.pipeline([["AUTH", "secret"], long])).toEqual(["+OK\r\n", `*16\r\n${"$-1\r\n".repeat(16)}`])
})

it("refuses long names for a client and its library", async () => {
  await start()
  const each = await client()
  const refused = "-ERR a client's and a library's name have at most 256 bytes\r\n"
  expect(await each.send("CLIENT", "SETNAME", "n".repeat(257))).toBe(refused)
  expect(await each.send("CLIENT", "SETINFO", "LIB-VER", "n".repeat(257))).toBe(refused)
  expect(await each.send("HELLO", "2", "SETNAME", "n".repeat(257))).toBe(refused)
  expect(await each.send("CLIENT", "SETNAME", "n".repeat(256))).toBe("+OK\r\n")
})

it("bounds the names that one client listens to", async () => {
  await start({ channelBytesMax: 50, subscriptionBytesMax: 400 })
  const each = await client()
  await each.send("HELLO", "3")
  const tooLong = "-ERR the name of a channel, or a pattern, is longer than 50 bytes\r\n"
  const long = "c".repeat(51)
  expect(await each.send("SUBSCRIBE", long)).toBe(tooLong)
  expect(await each.send("PSUBSCRIBE", long)).toBe(tooLong)
  expect(await each.send("PUBLISH", long, "x")).toBe(tooLong)
  expect(await each.send("PUBSUB", "CHANNELS", long)).toBe(tooLong)
  await each.send("SUBSCRIBE", "a".repeat(50))
  await each.send("PSUBSCRIBE", "b".repeat(50))
  const full =
    "-ERR a client's subscriptions may take at most 400 bytes, 100 for each beside its name; unsubscribe from some\r\n"
  each.write(encode(["SUBSCRIBE", "a".repeat(50), "c", "d"]))
  expect([await each.reply(), await each.reply()]).toEqual([expect.stringContaining("subscribe"), full])
  await each.send("UNSUBSCRIBE", "a".repeat(50))
  expect(await each.send("SUBSCRIBE", "d")).toContain(":2\r\n")
  expect(server.bus.channels()).toEqual(["d"])
})

it("bounds what all patterns together cost each message, and has room again when they go", async () => {
  await start({ patternBytesMax: 10 })
  const [first, second] = [await client(), await client()]
  expect(await first.send("PSUBSCRIBE", "12345*")).toContain(":1\r\n")
  expect(await second.send("PSUBSCRIBE", "12345*")).toContain(":1\r\n") // the same again costs nothing
  const full = "-ERR all patterns together may take at most 10 bytes; subscribe to channels by name\r\n"
  expect(await second.send("PSUBSCRIBE", "abcd*")).toBe(full)
  await first.close()
  expect(await second.send("PSUBSCRIBE", "abcd*")).toBe(full)
  await second.send("PUNSUBSCRIBE", "12345*")
  while (server.bus.patternCount > 0) await nextRound()
  expect(await second.send("PSUBSCRIBE", "abcd*")).toContain(":1\r\n")
  await second.close()
  await allGone()
  expect(server.server.state.patternBytes).toBe(0)
})

it("bounds a transaction by its arguments and their bytes", async () => {
  await start({ queueArgumentsMax: 7, queueBytesMax: 1_000 })
  const each = await client()
  expect(await each.pipeline([["MULTI"], ["GET", "a"], ["MGET", "a", "b", "c", "d"], ["EXEC"]])).toEqual([
    "+OK\r\n",
    "+QUEUED\r\n",
    "+QUEUED\r\n",
    expect.stringMatching(/^\*2/)
  ])
  expect(await each.pipeline([["MULTI"], ["GET", "a"], ["MGET", "a", "b", "c", "d", "e"], ["EXEC"]])).toEqual([
    "+OK\r\n",
    "+QUEUED\r\n",
    "-ERR transaction is longer than 7 arguments; send it in parts\r\n",
    "-EXECABORT Transaction discarded because of previous errors.\r\n"
  ])
  const [, refused] = await each.pipeline([["MULTI"], ["SET", "a", "x".repeat(1_000)], ["DISCARD"]])
  expect(refused).toBe("-ERR transaction is longer than 1000 bytes; send it in parts\r\n")
})

it("disconnects who asks for more when clients together hold all they may, and spares who holds little", async () => {
  await start({ clientBytesMax: 300_000 })
  const [modest, greedy] = [await client(), await client()]
  modest.write(`*2\r\n$4\r\nECHO\r\n$60000\r\n${"m".repeat(30_000)}`)
  greedy.write(`*2\r\n$4\r\nECHO\r\n$2000000\r\n${"g".repeat(1_000_000)}`)
  await greedy.closed
  expect(server.server.state.stats.memoryDisconnections).toBe(1)
  modest.write(`${"m".repeat(30_000)}\r\n`)
  expect(await modest.reply()).toHaveLength(60_010)
  await modest.close()
  await allGone()
  expect(server.server.state.clientBytes).toBe(0)
})

it("counts a transaction, subscriptions and waiting replies among what clients hold", async () => {
  await start()
  const { state } = server.server
  const each = await client()
  await each.send("HELLO", "3")
  await each.send("SUBSCRIBE", "c".repeat(900))
  await each.send("PING")
  expect(state.clientBytes).toBe(1_000)
  await each.pipeline([["MULTI"], ["SET", "a", "x".repeat(2_000)]])
  expect(state.clientBytes).toBe(1_000 + 3 * 16 + 2_004)
  await each.send("DISCARD")
  await each.send("UNSUBSCRIBE")
  await each.send("PING")
  expect(state.clientBytes).toBe(0)
})

// What is looked at

it("bounds the globs of KEYS and SCAN, and how far one SCAN looks", async () => {
  await start()
  const each = await client()
  const tooLong = "-ERR the pattern is longer than 1024 bytes\r\n"
  expect(await each.send("KEYS", "*".repeat(1_025))).toBe(tooLong)
  expect(await each.send("SCAN", "0", "MATCH", "*".repeat(1_025))).toBe(tooLong)
  expect(await each.send("COMMAND", "LIST", "FILTERBY", "PATTERN", "*".repeat(1_025))).toBe(tooLong)
  expect(await each.send("CONFIG", "GET", "a", "*".repeat(1_024))).toBe(tooLong)
  const keys = Array.from({ length: 2_500 }, (_, i) => `k${i}`)
  await each.send("MSET", ...keys.flatMap((key) => [key, "v"]))
  const found = new Set<string>()
  let [cursor, calls] = ["0", 0]
  do {
    const lines = (await each.send("SCAN", cursor, "COUNT", "1000000")).split("\r\n")
    cursor = lines[2] as string
    for (const line of lines.slice(3)) if (line.startsWith("k")) found.add(line)
    calls++
  } while (cursor !== "0")
  expect([found.size, calls]).toEqual([2_500, 3])
})

/** A kilobyte that makes the most of what a glob may take, and keys of 64 KB that it has to be tried on to their ends. */
const slowGlob = `*${"?".repeat(1_018)}[0-9]`
const slowKeys = (count: number) =>
  Array.from({ length: count }, (_, i) => `${"a".repeat(65_535)}${i % 10}${"b".repeat(i)}0`)

it("looks no further in one SCAN than a slow glob allows, and finds everything all the same", async () => {
  await start()
  const each = await client()
  await each.send("MSET", ...slowKeys(12).flatMap((key) => [key, "v"]))
  let [cursor, calls, found] = ["0", 0, 0]
  do {
    const lines = (await each.send("SCAN", cursor, "COUNT", "1000", "MATCH", slowGlob)).split("\r\n")
    cursor = lines[2] as string
    found += lines.slice(3).filter((line) => line.startsWith("a")).length
    calls++
  } while (cursor !== "0")
  expect([found, calls]).toEqual([12, 12])
})

it("gives others their turn after each key that keeps the glob of a KEYS busy", async () => {
  let nowMs = 0
  await start({ monotonicMs: () => nowMs++ })
  const each = await client()
  await each.send("MSET", ...slowKeys(12).flatMap((key) => [key, "v"]))
  const before = server.server.state.turns.yields
  expect(await each.send("KEYS", slowGlob)).toMatch(/^\*12\r\n/)
  // A turn is over at its second look here, and there is one after each key but the last.
  expect(server.server.state.turns.yields - before).toBeGreaterThanOrEqual(5)
})

it("tries no pattern on a key that is too long for it, and says so", async () => {
  await start()
  const each = await client()
  server.keyspace.set("k".repeat(8 * 1024 * 1024), "v")
  const tooLong = "-ERR a key of 8388608 bytes is too long to try this pattern on; give a shorter one\r\n"
  const slow = `*?${"k".repeat(64)}*x`
  expect(await each.send("KEYS", slow)).toBe(tooLong)
  expect(await each.send("SCAN", "0", "MATCH", slow)).toBe(tooLong)
  expect(await each.send("KEYS", "x*")).toBe("*0\r\n")
  expect(await each.send("KEYS", "*k?kkk*x")).toBe("*0\r\n")
  expect(await each.send("KEYS", "*")).toMatch(/^\*1\r\n\$8388608\r\n/)
})

it("finds the empty key by '*' and by the empty pattern alone, as Redis does", async () => {
  await start()
  const each = await client()
  await each.send("MSET", "", "v", "a", "v")
  expect(await each.send("KEYS", "*")).toMatch(/^\*2\r\n/)
  expect(await each.send("KEYS", "")).toBe("*1\r\n$0\r\n\r\n")
  expect(await each.send("KEYS", "**")).toBe("*1\r\n$1\r\na\r\n")
  expect(await each.send("SCAN", "0", "MATCH", "")).toBe("*2\r\n$1\r\n0\r\n*1\r\n$0\r\n\r\n")
  expect(await each.send("SCAN", "0", "MATCH", "?*")).toBe("*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n")
})

it("bounds how many keys one MSET or MSETNX changes", async () => {
  await start({ atomicKeysMax: 2 })
  const each = await client()
  const refused = "-ERR one command changes at most 2 keys at once; send it in parts\r\n"
  expect(await each.send("MSET", "a", "1", "b", "2", "c", "3")).toBe(refused)
  expect(await each.send("MSETNX", "a", "1", "b", "2", "c", "3")).toBe(refused)
  expect(await each.send("MSET", "a", "1", "b", "2")).toBe("+OK\r\n")
})

it("bounds the arguments of a command that is done in one turn", async () => {
  await start()
  const each = await client()
  const names = Array.from({ length: 65_535 }, () => "a")
  expect(await each.send("PUBSUB", "NUMSUB", ...names)).toBe(
    "-ERR 'pubsub|numsub' takes at most 65536 arguments; send it in parts\r\n"
  )
  expect(await each.send("PUBSUB", "NUMSUB", ...names.slice(1))).toMatch(/^\*131068/)
  each.write(encode(["EXISTS", ...names, "a"]))
  expect(await each.reply()).toBe(":0\r\n")
})

it("refuses a CLIENT LIST that would be too long, and gives others their turn while it is made", async () => {
  let nowMs = 0
  await start({ replyBytesMax: 20_000, monotonicMs: () => nowMs++ })
  const each = await client()
  const own = (await each.send("CLIENT", "ID")).slice(1, -2)
  const ids = Array.from({ length: 50 }, () => own)
  expect((await each.send("CLIENT", "LIST", "ID", ...ids)).split("id=")).toHaveLength(51)
  expect(server.server.state.turns.yields).toBeGreaterThan(2)
  const tooLong = "-ERR the reply would be longer than 20000 bytes; ask for it in parts\r\n"
  expect(await each.send("CLIENT", "LIST", "ID", ...ids, ...ids, ...ids, ...ids)).toBe(tooLong)
})

it("takes no KEYS in a transaction, which has to be done in one turn", async () => {
  await start()
  const each = await client()
  expect(await each.pipeline([["MULTI"], ["KEYS", "*"], ["EXEC"]])).toEqual([
    "+OK\r\n",
    "-ERR Command not allowed inside a transaction\r\n",
    "-EXECABORT Transaction discarded because of previous errors.\r\n"
  ])
})

// Subscribers that do not keep up

it("publishes nothing more to a subscriber from the moment it is cut", async () => {
  await start({ subscriberLimit: { hardBytes: 10_000, softBytes: 10_000, softMs: 60_000 } })
  const [subscriber, publisher] = [await client(), await client()]
  await subscriber.send("SUBSCRIBE", "news")
  const replies = await publisher.pipeline(Array.from({ length: 50 }, () => ["PUBLISH", "news", "x".repeat(1_000)]))
  const reached = replies.filter((reply) => reply === ":1\r\n").length
  expect(reached).toBeLessThan(12)
  expect(replies.slice(reached)).toEqual(Array.from({ length: 50 - reached }, () => ":0\r\n"))
  expect(server.server.state.stats.slowSubscribers).toBe(1)
})

it("counts the messages that wait behind a transaction's reply", async () => {
  await start({ subscriberLimit: { hardBytes: 10_000, softBytes: 10_000, softMs: 60_000 } })
  const each = await client()
  await each.send("HELLO", "3")
  await each.send("SUBSCRIBE", "news")
  const publishes = Array.from({ length: 50 }, () => ["PUBLISH", "news", "x".repeat(1_000)])
  each.write([["MULTI"], ...publishes, ["EXEC"]].map(encode).join(""))
  await each.closed
  expect(server.server.state.stats.slowSubscribers).toBe(1)
  expect(server.bus.stats.delivered).toBeLessThan(12)
})

it("runs nothing more of a pipeline whose client has been cut", async () => {
  await start({ subscriberLimit: { hardBytes: 10_000, softBytes: 10_000, softMs: 60_000 } })
  const each = await client()
  await each.send("HELLO", "3")
  await each.send("SUBSCRIBE", "news")
  const publishes = Array.from({ length: 50 }, () => ["PUBLISH", "news", "x".repeat(1_000)])
  each.write([...publishes, ["SET", "after", "1"]].map(encode).join(""))
  await each.closed
  expect(server.keyspace.size).toBe(0)
})
