/**
 * The same commands to Mimosa and to a real Redis 7.0: what both have is answered in the same bytes.
 *
 * Sequences are drawn from a seed, which is printed when they differ. Times to live are far away or have passed, so
 * that the two clocks cannot make a difference; what has no order (KEYS, SCAN) is compared sorted. DBSIZE is not drawn:
 * it counts what has expired and has not been found yet, and when that is found is each server's own affair.
 */
import { afterAll, beforeAll, expect, it } from "vitest"
import { describeWithRedis } from "../servers/describeWith.ts"
import { type RedisServer, startRedis } from "../servers/Redis.ts"
import { RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

describeWithRedis("Mimosa beside Redis 7.0", () => {
  let redis: RedisServer
  let mimosa: TestServer
  let ours: RawClient
  let theirs: RawClient

  beforeAll(async () => {
    redis = await startRedis({ databases: 1 })
    mimosa = await startServer({ limits: { bulkBytesMax: 512 * 1024 * 1024, commandBytesMax: 2 ** 30 } })
  })
  afterAll(async () => {
    await mimosa.stop()
    await redis.stop()
  })

  const reconnect = async (protocol: 2 | 3) => {
    await ours?.close()
    await theirs?.close()
    ours = await RawClient.connect(mimosa.port)
    theirs = await RawClient.connect(redis.port)
    for (const client of [ours, theirs]) {
      await client.send("HELLO", String(protocol))
      await client.send("FLUSHALL")
    }
  }

  const compare = async (commands: ReadonlyArray<readonly string[]>, label: string) => {
    const [mine, expected] = await Promise.all([ours.pipeline(commands), theirs.pipeline(commands)])
    for (const [i, command] of commands.entries()) {
      const context = commands.slice(Math.max(0, i - 4), i + 1)
      const [a, b] = [normal(command, mine[i] as string), normal(command, expected[i] as string)]
      expect(a, `${label}, command ${i}: ${JSON.stringify(context)}`).toBe(b)
    }
  }

  it("answers random sequences of commands in the same bytes", { timeout: 120_000 }, async () => {
    const seed = Number(process.env.MIMOSA_SEED ?? 1)
    const random = randomFrom(seed)
    for (let round = 0; round < 400; round++) {
      await reconnect(round % 2 === 0 ? 2 : 3)
      const commands = randomSequence(random, 250)
      await compare(commands, `MIMOSA_SEED=${seed}, round ${round}`)
    }
  })

  it.each([2, 3] as const)("answers what is wrong in the same words (RESP%i)", async (protocol) => {
    await reconnect(protocol)
    await compare(wrongCommands, "wrong commands")
  })

  it("answers a client that half closes in the same bytes", async () => {
    for (const bytes of halfClosed) {
      const replies = await Promise.all([mimosa.port, redis.port].map((port) => everythingFrom(port, bytes, true)))
      expect(replies[0], JSON.stringify(bytes)).toBe(replies[1])
    }
  })

  it("takes as much from who has not said the password, and breaks off in the same words", async () => {
    const guarded = await startRedis({ requirepass: "secret" })
    const ours = await startServer({ password: "secret" })
    try {
      for (const bytes of unauthenticated) {
        const ports = [ours.port, guarded.port]
        const replies = await Promise.all(ports.map((port) => everythingFrom(port, bytes, true)))
        expect(replies[0], JSON.stringify(bytes.slice(0, 60))).toBe(replies[1])
      }
    } finally {
      await ours.stop()
      await guarded.stop()
    }
  })

  it("breaks off at the same errors of the protocol, in the same words", async () => {
    for (const bytes of brokenStreams) {
      const replies = await Promise.all([mimosa.port, redis.port].map((port) => everythingFrom(port, bytes)))
      expect(replies[0], JSON.stringify(bytes)).toBe(replies[1])
    }
  })
})

const everythingFrom = async (port: number, bytes: string, isHalfClosed = false): Promise<string> => {
  const client = await RawClient.connect(port)
  let received = ""
  client.socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1")
  })
  client.write(bytes)
  if (isHalfClosed) client.socket.end()
  await client.closed
  return received
}

const halfClosed = [
  "PING\r\n",
  "PING\r\nPING\r\n*1\r\n$4\r\nPI",
  "",
  "*x\r\n",
  "SET half 1\r\nINCR half\r\nGET half\r\nDEL half\r\n",
  "MULTI\r\nPING\r\nEXEC\r\nMULTI\r\nPING\r\n",
  "QUIT\r\nPING\r\n"
]

const bulk = (bytes: number) => `$${bytes}\r\n${"x".repeat(bytes)}\r\n`
const unauthenticated = [
  `*10\r\n${bulk(4).repeat(10)}PING\r\n`,
  `*11\r\n${bulk(4).repeat(11)}`,
  `*2\r\n$4\r\nPING\r\n${bulk(16_384)}`,
  `*2\r\n$4\r\nPING\r\n${bulk(16_385)}`,
  `*2\r\n$4\r\nAUTH\r\n${bulk(16_385)}`,
  `AUTH secret\r\n*11\r\n$3\r\nDEL\r\n${bulk(4).repeat(10)}`,
  `AUTH wrong\r\n*11\r\n$3\r\nDEL\r\n${bulk(4).repeat(10)}`,
  `HELLO 2 AUTH default secret SETNAME me extra\r\n*12\r\n$3\r\nDEL\r\n${bulk(4).repeat(11)}`,
  `AUTH secret\r\nRESET\r\n*11\r\n$3\r\nDEL\r\n${bulk(4).repeat(10)}`,
  `PING ${"x".repeat(20_000)}\r\n`,
  "MULTI\r\nEXEC\r\nSUBSCRIBE a\r\n"
]

const brokenStreams = [
  "*1\r\n$4\r\nPING\r\n*x\r\n",
  "*1\r\n$4\r\nPING\r\n*1\r\n:4\r\n",
  "*2\r\n$4\r\nPING\r\nPING\r\n",
  "*2\r\n$-1\r\n",
  "*1\r\n$01\r\n",
  "*1\r\n$99999999999\r\n",
  "*99999999999999999999\r\n",
  "*+1\r\n",
  "*1 \r\n",
  "* 1\r\n",
  "*0\r\n*-1\r\n\r\n*-x\r\n",
  'ECHO "open\r\n',
  'ECHO "a"b\r\n',
  "ECHO 'a\r\n",
  `*1\r\n$${"1".repeat(70_000)}`,
  `*${"1".repeat(70_000)}`,
  "a".repeat(70_000),
  "ECHO \"a\\x41\\n\\q\" \r\nECHO 'it\\'s'\nQUIT\r\n",
  "PING\r\n  \r\nPING  hello\nQUIT\n",
  "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
  "*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n"
]

const wrongCommands: ReadonlyArray<readonly string[]> = [
  ["NOSUCH"],
  ["NOSUCH", "a", "b c", "\r\n\0x"],
  ["nosuch\r\n", "x".repeat(200), "y"],
  ["x".repeat(200), "a".repeat(60), "b".repeat(60), "c".repeat(60)],
  [""],
  ["GET"],
  ["GET", "a", "b"],
  ["SET", "a"],
  ["MSET", "a", "1", "b"],
  ["MSETNX", "a", "1", "b"],
  ["SET", "a", "1", "EX"],
  ["SET", "a", "1", "EX", "0"],
  ["SET", "a", "1", "EX", "-1"],
  ["SET", "a", "1", "EX", "x"],
  ["SET", "a", "1", "EX", "1.5"],
  ["SET", "a", "1", "EX", "9223372036854775807"],
  ["SET", "a", "1", "PX", "9223372036854775807"],
  ["SET", "a", "1", "PX", "99999999999999999999"],
  ["SET", "a", "1", "NX", "XX"],
  ["SET", "a", "1", "NX", "NX"],
  ["SET", "a", "1", "EX", "10", "PX", "10"],
  ["SET", "a", "1", "EX", "10", "EX", "1000"],
  ["SET", "a", "1", "KEEPTTL", "EX", "10"],
  ["SET", "a", "1", "EX", "10", "KEEPTTL"],
  ["SET", "a", "1", "KEEPTTL", "KEEPTTL"],
  ["SET", "a", "1", "WHAT"],
  ["SETEX", "a", "0", "1"],
  ["SETEX", "a", "x", "1"],
  ["PSETEX", "a", "-5", "1"],
  ["GETEX", "none", "EX", "0"],
  ["SET", "a", "1"],
  ["GETEX", "a", "EX", "0"],
  ["GETEX", "a", "EX", "10", "PERSIST"],
  ["GETEX", "a", "PERSIST", "EX", "10"],
  ["GETEX", "a", "KEEPTTL"],
  ["GETEX", "a", "EXAT", "1"],
  ["GET", "a"],
  ["EXPIRE", "a"],
  ["EXPIRE", "a", "x"],
  ["EXPIRE", "a", "10", "WHAT"],
  ["EXPIRE", "a", "10", "NX", "XX"],
  ["EXPIRE", "a", "10", "GT", "LT"],
  ["EXPIRE", "a", "10", "NX", "GT"],
  ["EXPIRE", "a", "9223372036854775807"],
  ["PEXPIRE", "a", "9223372036854775807"],
  ["EXPIREAT", "a", "9223372036854775807"],
  ["PEXPIREAT", "a", "-9223372036854775808"],
  ["EXPIRE", "a", "-9223372036854775808"],
  ["SET", "a", "abc"],
  ["INCR", "a"],
  ["INCRBY", "a", "x"],
  ["INCRBY", "n", "9223372036854775807"],
  ["INCR", "n"],
  ["DECRBY", "n", "-9223372036854775808"],
  ["DECRBY", "n", "-1"],
  ["INCRBYFLOAT", "a", "1"],
  ["INCRBYFLOAT", "f", "x"],
  ["INCRBYFLOAT", "f", " 1"],
  ["INCRBYFLOAT", "f", "nan"],
  ["SETRANGE", "a", "-1", "x"],
  ["SETRANGE", "a", "x", "x"],
  ["SETRANGE", "a", "536870912", "x"],
  ["GETRANGE", "a", "x", "1"],
  ["SCAN", "x"],
  ["SCAN", "0", "COUNT", "0"],
  ["SCAN", "0", "COUNT", "x"],
  ["SCAN", "0", "MATCH"],
  ["SCAN", "0", "WHAT", "x"],
  ["SELECT", "x"],
  ["SELECT", "1"],
  ["SELECT", "-1"],
  ["SELECT", "99999999999999"],
  ["SELECT", "0"],
  ["CONFIG"],
  ["CONFIG", "WHAT"],
  ["CONFIG", "GET"],
  ["CLIENT", "SETNAME", "a b"],
  ["CLIENT", "SETNAME", "ok"],
  ["CLIENT", "GETNAME"],
  ["CLIENT", "REPLY", "WHAT"],
  ["CLIENT", "KILL", "1.2.3.4:5"],
  ["CLIENT", "LIST", "TYPE", "what"],
  ["PING", "a", "b"],
  ["HELLO", "x"],
  ["HELLO", "4"],
  ["HELLO", "2", "WHAT"],
  ["HELLO", "2", "SETNAME"],
  ["AUTH", "x"],
  ["AUTH"],
  ["FLUSHALL", "WHAT"],
  ["FLUSHALL", "ASYNC", "SYNC"],
  ["OBJECT", "WHAT", "a"],
  ["OBJECT", "ENCODING", "none"],
  ["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"],
  ["MSETNX", "m1", "1", "m1", "2"],
  ["GET", "m1"],
  ["MSETNX", "m2", "1", "m1", "2"],
  ["EXISTS", "m1", "m1", "m2"],
  ["DEL", "m1", "m1", "m2"],
  ["COMMAND", "GETKEYS", "PING"],
  ["COMMAND", "GETKEYS", "NOSUCH"],
  ["COMMAND", "GETKEYS", "GET", "a", "b"],
  ["EXEC"],
  ["EXEC", "x"],
  ["MULTI"],
  ["EXEC", "x"],
  ["EXEC"],
  ["DISCARD"],
  ["MULTI"],
  ["MULTI"],
  ["EXEC"],
  ["MULTI"],
  ["NOSUCH"],
  ["EXEC"],
  ["MULTI"],
  ["INCR", "a"],
  ["SET", "a", "1"],
  ["INCR", "a"],
  ["EXEC"],
  ["DBSIZE"],
  ["RENAME", "none", "b"],
  ["PUBSUB", "WHAT"],
  ["PUBSUB", "NUMSUB", "a", "b"],
  ["PUBSUB", "NUMPAT"],
  ["PUBSUB", "CHANNELS"],
  ["PUBLISH", "a"],
  ["UNSUBSCRIBE"],
  ["UNSUBSCRIBE", "a"],
  ["PUNSUBSCRIBE"],
  ["SUBSCRIBE", "a"],
  ["GET", "a"],
  ["PING"],
  ["PING", "x"],
  ["EXEC"],
  ["PSUBSCRIBE", "a*"],
  ["SUBSCRIBE", "a"],
  ["UNSUBSCRIBE", "a"],
  ["NOSUCH"],
  ["RESET"],
  ["GET", "a"]
]

/** Deterministic numbers below 1 (mulberry32). */
const randomFrom = (seed: number): (() => number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Within a transaction nothing is drawn whose reply has no order or counts the time: EXEC's reply is one piece. */
const randomSequence = (random: () => number, length: number): string[][] => {
  const commands: string[][] = []
  let isInTransaction = false
  while (commands.length < length) {
    const command = randomCommand(random)
    const name = (command[0] as string).toUpperCase()
    if (isInTransaction && /^(KEYS|SCAN|P?TTL|P?EXPIRETIME)$/.test(name)) continue
    if (name === "MULTI") isInTransaction = true
    if (name === "EXEC" || name === "DISCARD") isInTransaction = false
    commands.push(command)
  }
  return commands
}

const randomCommand = (random: () => number): string[] => {
  const pick = <A>(from: readonly A[]): A => from[Math.floor(random() * from.length)] as A
  const key = () => pick(["a", "b", "c", "d", "key:1", "key:2", "k\0\r\n\xff", ""])
  const value = () =>
    pick([
      "",
      "0",
      "1",
      "-1",
      "007",
      "+1",
      "10",
      "3.5",
      "5.0e3",
      "0.1",
      "-0.25",
      "9223372036854775806",
      "hello",
      "\0\xff\r\n",
      "x".repeat(300)
    ])
  const integer = () =>
    pick([
      "0",
      "1",
      "-1",
      "5",
      "-3",
      "10",
      "100",
      "9223372036854775807",
      "-9223372036854775808",
      "1.5",
      "x",
      "",
      "9007199254740993"
    ])
  const seconds = () => pick(["1000", "100000", "-1", "0", "x", "10000000"])
  const instant = () => pick(["99999999999", "1", "4102444800", "-5", "x"])
  const index = () => pick(["0", "1", "-1", "2", "-2", "5", "-100", "100", "x"])
  const part = () => pick(["*", "**", "?", "[", "]", "^", "-", "\\", "a", "b", "k", ":", "1", "[a-c]", "[^a]"])
  const anyGlob = () => Array.from({ length: Math.floor(random() * 6) }, part).join("")
  const glob = () =>
    random() < 0.5
      ? anyGlob()
      : pick(["*", "a*", "?", "[a-c]", "[^a]", "key:*", "k[]", "k*\\", "[a", "*1", "**", "\\a", "key:[1"])
  const family = pick<() => string[]>([
    () => ["GET", key()],
    () => ["GET", key()],
    () => ["SET", key(), value()],
    () => [
      "SET",
      key(),
      value(),
      ...pick<string[]>([
        ["NX"],
        ["XX"],
        ["GET"],
        ["NX", "GET"],
        ["XX", "GET"],
        ["KEEPTTL"],
        ["EX", seconds()],
        ["PX", `${seconds()}000`],
        ["EXAT", instant()],
        ["PXAT", instant()],
        ["nx", "ex", "500"],
        ["XX", "GET", "KEEPTTL"]
      ])
    ],
    () => ["SETNX", key(), value()],
    () => ["SETEX", key(), seconds(), value()],
    () => ["PSETEX", key(), pick(["1000000", "0", "x"]), value()],
    () => ["GETSET", key(), value()],
    () => ["GETDEL", key()],
    () => ["GETEX", key(), ...pick<string[]>([[], ["PERSIST"], ["EX", seconds()], ["EXAT", instant()], ["PXAT", "1"]])],
    () => ["MGET", key(), key(), key()],
    () => ["MSET", key(), value(), key(), value()],
    () => ["MSETNX", key(), value(), key(), value()],
    () => [pick(["DEL", "UNLINK", "EXISTS", "TOUCH"]), key(), key()],
    () => [
      pick(["EXPIRE", "PEXPIRE"]),
      key(),
      pick(["1000000", "2000000", "-1", "0", "x"]),
      ...pick<string[]>([[], ["NX"], ["XX"], ["NX", "GT"]])
    ],
    () => ["EXPIREAT", key(), instant()],
    () => [
      "PEXPIREAT",
      key(),
      pick(["99999999999000", "88888888888000", "1", "0", "-1"]),
      ...pick<string[]>([[], ["GT"], ["LT"], ["NX"]])
    ],
    () => [pick(["EXPIRETIME", "PEXPIRETIME"]), key()],
    () => [pick(["TTL", "PTTL"]), key()],
    () => ["PERSIST", key()],
    () => [pick(["INCR", "DECR"]), key()],
    () => [pick(["INCRBY", "DECRBY"]), key(), integer()],
    () => [
      // Elsewhere C's long double, and with it Redis, counts differently.
      process.arch === "x64" ? "INCRBYFLOAT" : "STRLEN",
      key(),
      ...(process.arch === "x64"
        ? [pick(["0.1", "1", "-2.5", "1e3", "5.0e-3", "3.14159265358979", "x", "1e-20", "123456789.123456789", "-0"])]
        : [])
    ],
    () => ["APPEND", key(), value()],
    () => ["STRLEN", key()],
    () => [pick(["GETRANGE", "SUBSTR"]), key(), index(), index()],
    () => ["SETRANGE", key(), pick(["0", "1", "5", "20", "-1"]), value()],
    () => ["TYPE", key()],
    () => ["KEYS", glob()],
    () => [
      "SCAN",
      "0",
      "COUNT",
      "1000",
      ...pick<string[]>([[], ["MATCH", glob()], ["TYPE", "string"], ["TYPE", "hash"]])
    ],
    () => ["RENAME", key(), key()],
    () => ["RENAMENX", key(), key()],
    () => ["ECHO", value()],
    () => ["PING"],
    () => [pick(["MULTI", "EXEC", "DISCARD", "EXEC"])],
    () => ["PUBLISH", key(), value()],
    () => ["COMMAND", "GETKEYS", "MSET", key(), value(), key(), value()],
    () => (random() < 0.05 ? ["FLUSHALL"] : ["GET", key()])
  ])
  return random() < 0.1 ? family().map((arg, i) => (i === 0 ? arg.toLowerCase() : arg)) : family()
}

/** TTLs count in the two servers' own time, so only their kind is compared; sets lose their order. */
const normal = (command: readonly string[], reply: string): string => {
  const name = (command[0] as string).toUpperCase()
  if ((name === "TTL" || name === "PTTL") && /^:\d/.test(reply)) return `:${reply.length < 8 ? "soon" : "later"}`
  // After a relative expiry both clocks count; they were read within moments of each other.
  if ((name === "EXPIRETIME" || name === "PEXPIRETIME") && /^:\d/.test(reply)) return ":some time"
  if (name === "KEYS" || name === "SCAN")
    return reply
      .split(/(?=\$)/)
      .sort()
      .join("")
  return reply
}
