/** Clients that people use, as they are installed and with their defaults. */
import { createClient } from "@redis/client"
import { Redis } from "ioredis"
import { afterAll, beforeAll, expect, it } from "vitest"
import { describeWithRedis } from "../servers/describeWith.ts"
import { redisBenchmark, redisCli } from "../servers/Redis.ts"
import { startServer, type TestServer } from "./TestServer.ts"

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

const text = "größer als ASCII \0\r\n"

it("ioredis: values, expiry, scan, pipelines, transactions, publish and subscribe", async () => {
  const redis = new Redis({ port: server.port })
  const subscriber = new Redis({ port: server.port })
  try {
    await redis.flushall()
    expect(await redis.set("a", text, "EX", 100)).toBe("OK")
    expect(await redis.get("a")).toBe(text)
    expect(await redis.getBuffer("a")).toEqual(Buffer.from(text))
    expect(await redis.ttl("a")).toBe(100)
    expect(await redis.set("a", "x", "NX")).toBeNull()
    expect(await redis.expire("a", -1)).toBe(1)
    expect(await redis.get("a")).toBeNull()
    const results = await redis.pipeline().set("k", "1").incr("k").get("k").get("missing").exec()
    expect(results).toEqual([
      [null, "OK"],
      [null, 2],
      [null, "2"],
      [null, null]
    ])
    expect(await redis.multi().incrby("k", 5).mget("k", "missing").exec()).toEqual([
      [null, 7],
      [null, ["7", null]]
    ])
    for (let i = 0; i < 25; i++) await redis.set(`scan:${i}`, i)
    const found: string[] = []
    for await (const keys of redis.scanStream({ match: "scan:*", count: 5 })) found.push(...(keys as string[]))
    expect(new Set(found).size).toBe(25)
    const messages: string[] = []
    const received = new Promise<void>((resolve) => {
      subscriber.on("message", (channel, message) => messages.push(`${channel} ${message}`))
      subscriber.on("pmessage", (pattern, channel, message) => {
        messages.push(`${pattern} ${channel} ${message}`)
        resolve()
      })
    })
    await subscriber.subscribe("news")
    await subscriber.psubscribe("n*")
    expect(await redis.publish("news", "hello")).toBe(2)
    await received
    expect(messages).toEqual(["news hello", "n* news hello"])
    expect(await redis.call("META", "k")).toContain('"tags":[]')
    await expect(redis.incr("scan:x\0").then(() => redis.call("NOSUCH"))).rejects.toThrow(/unknown command 'NOSUCH'/)
    expect(await redis.dbsize()).toBe(27)
    expect(await redis.quit()).toBe("OK")
  } finally {
    redis.disconnect()
    subscriber.disconnect()
  }
})

it.each([undefined, 2, 3] as const)("@redis/client (RESP %s): the same", async (RESP) => {
  const redis = createClient({
    socket: { host: "127.0.0.1", port: server.port, reconnectStrategy: false },
    ...(RESP === undefined ? {} : { RESP })
  })
  const subscriber = redis.duplicate()
  redis.on("error", () => {})
  subscriber.on("error", () => {})
  await redis.connect()
  await subscriber.connect()
  try {
    await redis.flushAll()
    expect(await redis.set("a", text, { expiration: { type: "EX", value: 100 } })).toBe("OK")
    expect(await redis.get("a")).toBe(text)
    expect(await redis.ttl("a")).toBe(100)
    expect(await redis.set("a", "x", { condition: "NX" })).toBeNull()
    expect(await redis.pExpire("a", -1)).toBe(1)
    expect(await redis.get("a")).toBeNull()
    expect(await Promise.all([redis.set("k", "1"), redis.incr("k"), redis.get("k"), redis.get("no")])).toEqual([
      "OK",
      2,
      "2",
      null
    ])
    expect(await redis.multi().incrBy("k", 5).mGet(["k", "missing"]).exec()).toEqual([7, ["7", null]])
    for (let i = 0; i < 25; i++) await redis.set(`scan:${i}`, String(i))
    const found: string[] = []
    for await (const keys of redis.scanIterator({ MATCH: "scan:*", COUNT: 5 })) found.push(...keys)
    expect(new Set(found).size).toBe(25)
    const messages: string[] = []
    await subscriber.subscribe("news", (message, channel) => messages.push(`${channel} ${message}`))
    const received = new Promise<void>((resolve) => {
      void subscriber.pSubscribe("n*", (message, channel) => {
        messages.push(`n* ${channel} ${message}`)
        resolve()
      })
    })
    await subscriber.ping()
    expect(await redis.publish("news", "hello")).toBe(2)
    await received
    expect(messages).toEqual(["news hello", "n* news hello"])
    expect(await redis.configGet("maxclients")).toEqual({ maxclients: "10000" })
    const [info] = await redis.commandInfo(["get"])
    expect(info).toMatchObject({ name: "get", arity: 2, firstKeyIndex: 1 })
    expect(await redis.clientId()).toBeGreaterThan(0)
    await expect(redis.sendCommand(["NOSUCH"])).rejects.toThrow(/unknown command 'NOSUCH'/)
  } finally {
    redis.destroy()
    subscriber.destroy()
  }
})

describeWithRedis("Redis' own clients", () => {
  it("redis-cli: commands, values from stdin, --scan, inline errors", async () => {
    await redisCli(server.port, ["FLUSHALL"])
    expect(await redisCli(server.port, ["-x", "SET", "bytes"], new Uint8Array([0, 255, 10]))).toBe("OK\n")
    expect(await redisCli(server.port, ["--no-raw", "GET", "bytes"])).toBe('"\\x00\\xff\\n"\n')
    expect(await redisCli(server.port, ["-3", "GET", "none"])).toBe("\n")
    expect(await redisCli(server.port, ["--scan", "--pattern", "b*"])).toBe("bytes\n")
    expect(await redisCli(server.port, [], "MULTI\nSET a 1\nINCR a\nEXEC\n")).toBe("OK\nQUEUED\nQUEUED\nOK\n2\n")
  })

  it("redis-benchmark runs through", async () => {
    const csv = await redisBenchmark(server.port, [
      "-n",
      "2000",
      "-c",
      "10",
      "-t",
      "set,get,incr,mset",
      "-P",
      "8",
      "--csv"
    ])
    expect(csv.split("\n").filter((line) => /^"(SET|GET|INCR|MSET)/.test(line))).toHaveLength(4)
  })
})
