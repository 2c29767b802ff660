/**
 * Whatever bytes a client sends, in whatever portions: each command has one reply, what we hold stays within its limits,
 * nobody else notices, and when everybody has gone nothing is held any more. Drawn from a seed (test/support/Random.ts).
 */
import { afterEach, expect, it } from "vitest"
import { firstSeed, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import { encode, RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

const limits = { bulkBytesMax: 5_000, commandBytesMax: 20_000 }
const replyBytesHigh = 2_000
const replyBytesMax = 150_000 // what COMMAND answers fits in
const clientBytesMax = 150_000
const settings = {
  limits,
  replyBytesHigh,
  replyBytesMax,
  clientBytesMax,
  queueArgumentsMax: 50,
  queueBytesMax: 10_000,
  atomicKeysMax: 20,
  channelBytesMax: 40,
  subscriptionBytesMax: 1_000,
  patternBytesMax: 100,
  subscriberLimit: { hardBytes: 20_000, softBytes: 10_000, softMs: 60_000 }
}
/** Node's own buffer of a socket holds back this much before we are told; it comes on top for each client. */
const portionBytes = 64 * 1024

let server: TestServer
let nowMs: number
const clients: RawClient[] = []

const start = async (password?: string) => {
  nowMs = 0
  server = await startServer(
    { ...settings, password, monotonicMs: () => nowMs++ },
    { maxEntries: 500, maxBytes: 500_000 }
  )
}
const client = async () => {
  const connected = await RawClient.connect(server.port)
  clients.push(connected)
  return connected
}
const stop = async () => {
  await Promise.all(clients.splice(0).map((each) => each.close()))
  while (server.server.connections().size > 0) await nextRound()
  const { clientBytes, patternBytes, patterns } = server.server.state
  const held = { clientBytes, patternBytes, patterns: patterns.size, channels: server.bus.channels().length }
  await server.stop()
  return { held, defects: server.defects }
}
const nothing = { held: { clientBytes: 0, patternBytes: 0, patterns: 0, channels: 0 }, defects: [] }
const nextRound = () => new Promise((resolve) => setImmediate(resolve))
const heldMax = (count: number) => clientBytesMax + count * (portionBytes + replyBytesMax)

afterEach(() => server?.stop())

const forEachSeed = async (usual: number, schedule: (random: Random) => Promise<void>) => {
  for (let seed = firstSeed; seed < firstSeed + scheduleCount(usual); seed++) {
    await schedule(new Random(seed)).catch((cause) => {
      throw new Error(`repeat with MIMOSA_SEED=${seed} MIMOSA_SCHEDULES=1: ${cause}`, { cause })
    })
  }
}

it("gives each command one reply, however the bytes are portioned", { timeout: propertyTimeoutMs }, async () => {
  await forEachSeed(15, async (random) => {
    await start()
    const [each, other] = [await client(), await client()]
    const names = [...server.server.state.commands.commands.values()].filter(({ row }) => !severalReplies.has(row.name))
    const commands = Array.from({ length: 300 }, () => randomCommand(random, names))
    const bytes = commands.map(encode).join("")
    const replies = Promise.all(commands.map(() => each.reply()))
    replies.catch(() => {})
    for (let at = 0; at < bytes.length; ) {
      const length = random.between(1, random.oneIn(3) ? 10_000 : 200)
      each.write(bytes.slice(at, at + length))
      at += length
      if (random.oneIn(4)) await nextRound()
      if (random.oneIn(10)) expect(await other.send("PING")).toBe("+PONG\r\n")
      expect(server.server.state.clientBytes).toBeLessThan(heldMax(2))
    }
    const { stats } = server.server.state
    // Only the limit of a reply may cost the connection here.
    await replies.catch(() => expect(stats.replyOverflows).toBe(1))
    if (stats.replyOverflows === 0) expect(await each.send("RESET")).toBe("+RESET\r\n")
    expect(await stop()).toEqual(nothing)
  })
})

it("survives any bytes of several clients at once", { timeout: propertyTimeoutMs }, async () => {
  await forEachSeed(25, async (random) => {
    const password = random.oneIn(2) ? "secret" : undefined
    await start(password)
    const other = await client()
    if (password !== undefined) await other.send("AUTH", password)
    for (let round = 0; round < 60; round++) {
      const those = clients.filter((each) => each !== other && !each.socket.destroyed)
      if (those.length < 5) await client()
      const each = random.pick(clients)
      if (each === other) continue
      const deed = random.below(12)
      if (deed === 0) each.socket.end()
      else if (deed === 1) each.socket.pause()
      else if (deed < 4) each.socket.resume()
      else if (each.socket.writable) each.write(randomBytes(random))
      if (random.oneIn(3)) expect(await other.send("PING")).toBe("+PONG\r\n")
      expect(server.server.state.clientBytes).toBeLessThan(heldMax(clients.length))
      for (const {
        client: { heldBytes }
      } of server.server.connections())
        expect(heldBytes).toBeLessThan(80_000)
    }
    expect(await stop()).toEqual(nothing)
  })
})

/** Commands that have several replies, none, or end the connection. */
const severalReplies = new Set("subscribe unsubscribe psubscribe punsubscribe quit client reset debug".split(" "))

const words = "a b key:1 key:2 * ? [a-c] 0 1 -1 10 9999999999 EX PX NX XX GET KEEPTTL MATCH COUNT 1.5 ASYNC 2 3".split(
  " "
)

const randomWord = (random: Random): string => {
  if (random.oneIn(12)) return random.pick(["x".repeat(4_000), "", "\r\n", "\0\xff", "*3\r\n$3\r\nSET\r\n"])
  return random.pick(words)
}

const randomCommand = (random: Random, names: ReadonlyArray<{ readonly row: { readonly name: string } }>): string[] => {
  const name = random.oneIn(10) ? randomWord(random) || "x" : random.pick(names).row.name
  if (/^(post|host:)$/i.test(name)) return ["PING"]
  return [name, ...Array.from({ length: random.below(random.oneIn(20) ? 40 : 6) }, () => randomWord(random))]
}

const randomBytes = (random: Random): string => {
  const pieces = Array.from({ length: random.between(1, 8) }, () => {
    switch (random.below(9)) {
      case 0:
        return Array.from({ length: random.below(60) }, () => String.fromCharCode(random.below(256))).join("")
      case 1:
        return `*${random.pick(["1", "3", "-1", "0", "1048577", "20", "x", "1000"])}\r\n`
      case 2:
        return `$${random.pick(["0", "3", "5000", "5001", "-1", "x"])}\r\n`
      case 3:
        return "y".repeat(random.below(6_000))
      case 4:
        return encode(["AUTH", "secret"])
      case 5:
        return encode(["HELLO", random.pick(["2", "3"])])
      case 6:
        return encode([
          random.pick(["SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE"]),
          `${random.pick(words)}${random.below(30)}`
        ])
      case 7:
        return encode(["PUBLISH", `${random.pick(words)}${random.below(3)}`, "m".repeat(random.below(5_000))])
      default:
        return random.pick([
          encode(["SET", "big", "z".repeat(4_900)]),
          encode(["GET", "big"]).repeat(random.below(200)),
          encode(["MGET", ..."big ".repeat(20).trim().split(" ")]),
          encode(["MULTI"]),
          encode(["EXEC"]),
          encode(["CLIENT", "REPLY", random.pick(["ON", "OFF", "SKIP"])]),
          encode(["KEYS", "*"]),
          "PING\r\n"
        ])
    }
  })
  return pieces.join("")
}
