import { existsSync } from "node:fs"
import { createServer } from "node:net"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as Binary from "./Binary.ts"
import { describeWithRedis } from "./describeWith.ts"
import * as Port from "./Port.ts"
import { type RedisServer, redisBenchmark, redisCli, startRedis } from "./Redis.ts"

describeWithRedis("a real Redis for tests", () => {
  let redis: RedisServer

  beforeAll(async () => {
    redis = await startRedis({ maxmemory: "64mb", "client-output-buffer-limit": ["pubsub", "1mb", "1mb", 60] })
  })
  afterAll(() => redis.stop())

  it("answers redis-cli, with the configuration it was given", async () => {
    expect(await redisCli(redis.port, ["PING"])).toBe("PONG\n")
    expect(await redisCli(redis.port, ["CONFIG", "GET", "maxmemory"])).toBe("maxmemory\n67108864\n")
    expect(await redisCli(redis.port, ["CONFIG", "GET", "client-output-buffer-limit"])).toContain(
      "pubsub 1048576 1048576 60"
    )
    expect(await redisCli(redis.port, ["CONFIG", "GET", "save"])).toBe("save\n\n")
  })

  it("takes the last argument from stdin (-x), bytes included", async () => {
    expect(await redisCli(redis.port, ["-x", "SET", "from-stdin"], new Uint8Array([0, 255, 10]))).toBe("OK\n")
    expect(await redisCli(redis.port, ["--no-raw", "GET", "from-stdin"])).toBe('"\\x00\\xff\\n"\n')
  })

  it("is measured by redis-benchmark", async () => {
    const csv = await redisBenchmark(redis.port, ["-n", "1000", "-c", "5", "-t", "set", "-P", "16", "--csv"])
    expect(csv).toMatch(/^"SET","(\d+\.\d+|inf)"/m)
  })

  it("says in its own words why it does not start", async () => {
    await expect(startRedis({ maxmemory: "a lot" })).rejects.toThrow(/argument must be a memory value/)
  })

  it("is gone after stop, with its process and its folder", async () => {
    const other = await startRedis()
    const dir = (await redisCli(other.port, ["CONFIG", "GET", "dir"])).trim().split("\n")[1] as string
    expect(existsSync(dir)).toBe(true)
    await other.stop()
    await other.stop()
    expect(() => process.kill(other.pid, 0)).toThrow(/ESRCH/)
    expect(existsSync(dir)).toBe(false)
    await expect(redisCli(other.port, ["PING"])).rejects.toThrow(/Could not connect to Redis/)
  })
})

describe("programs of real servers", () => {
  it("are named with what to do when they are missing", () => {
    expect(() => Binary.path("no-such-server")).toThrow(/no-such-server not found on PATH nor in .*npm test fetches it/)
  })

  it("hand over input and output, and fail with what the program said", async () => {
    expect(await Binary.run("cat", [], { stdin: "as given" })).toBe("as given")
    await expect(Binary.run("sh", ["-c", "echo because >&2; exit 3"])).rejects.toThrow(/ended with code 3: because/)
    await expect(Binary.run("cat", ["/dev/zero"], { timeoutMs: 1 })).rejects.toThrow(/ended with SIGKILL/)
  })
})

describe("a free port", () => {
  it("can be listened on", async () => {
    const port = await Port.free()
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject)
      server.listen(port, "127.0.0.1", resolve)
    })
    expect(port).toBeGreaterThan(0)
    await new Promise((resolve) => server.close(resolve))
  })
})
