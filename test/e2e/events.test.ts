/**
 * The whole way: a served process, redis-cli to register and to touch, and two who listen: a subscriber of `cache.emit`
 * (ioredis) and a webhook receiver.
 */
import { createServer, type IncomingHttpHeaders, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { createClient } from "@redis/client"
import { Redis } from "ioredis"
import { afterAll, beforeAll, expect, it } from "vitest"
import { describeBuilt, type Served, serve, temporaryFolder } from "../cli/Mimosa.ts"
import { describeWith } from "../servers/describeWith.ts"
import { redisCli } from "../servers/Redis.ts"

interface Hook {
  readonly headers: IncomingHttpHeaders
  readonly body: unknown
}

/** Things that arrive, in their order, and those who wait for the next one. */
class Arrivals<A> {
  private readonly waiting: Array<(arrived: A) => void> = []
  private readonly arrived: A[] = []

  put(one: A): void {
    const waiter = this.waiting.shift()
    if (waiter === undefined) this.arrived.push(one)
    else waiter(one)
  }

  /** The next one that nobody has taken; one that never comes ends in the test's time-out. */
  next(): Promise<A> {
    const one = this.arrived.shift()
    return one === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(one)
  }

  get left(): readonly A[] {
    return this.arrived
  }
}

describeBuilt("a served Mimosa", () => {
  describeWith(["redis-cli"])("reacts", () => {
    let folder: Awaited<ReturnType<typeof temporaryFolder>>
    let served: Served
    let subscriber: Redis
    let receiver: Server
    let url: string
    const messages = new Arrivals<string>()
    const hooks = new Arrivals<Hook>()

    beforeAll(async () => {
      receiver = createServer(async (request, response) => {
        const chunks = await request.toArray()
        hooks.put({ headers: request.headers, body: JSON.parse(Buffer.concat(chunks).toString()) })
        response.writeHead(204).end()
      })
      await new Promise<void>((resolve) => void receiver.listen(0, "127.0.0.1", resolve))
      url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
      folder = await temporaryFolder()
      served = await serve(folder.path, ["--egress-allow", "127.0.0.1", "--max-entries", "8"])
      subscriber = new Redis(served.port)
      subscriber.on("message", (_channel, message) => messages.put(message))
      await subscriber.subscribe("seen")
    })
    afterAll(async () => {
      await subscriber.quit()
      await served.stop()
      await folder.remove()
      receiver.close()
    })

    const cli = async (...args: readonly string[]) => (await redisCli(served.port, args)).trimEnd()
    /** A trigger that tells both listeners of its event. */
    const tell = async (name: string, pattern: string, event: string) => {
      const source = `
        local told = event.type .. " " .. event.key .. " " .. event.value
        cache.emit("seen", told)
        cache.webhook("${url}", { told = told, cause = event.cause })`
      expect(await cli("TRIGGER", "SET", name, pattern, event, source)).toBe("OK")
    }
    const expectTold = async (told: string, cause: string) => {
      expect(await messages.next()).toBe(told)
      const { headers, body } = await hooks.next()
      expect(body).toEqual({ told, cause })
      expect(headers["webhook-id"]).toMatch(/^[0-9a-f]{16}-\d+-[\w-]+-1$/)
    }

    it("to a write, with the reply of an ordinary SET", async () => {
      await tell("written", "w:*", "ON_WRITE")
      expect(await cli("SET", "w:1", "hello")).toBe("OK")
      await expectTold("ON_WRITE w:1 hello", "write")
    })

    it("to a read that finds the key, and to no miss", async () => {
      await tell("read", "r:*", "ON_READ")
      await cli("SET", "r:1", "hello")
      expect(await cli("GET", "r:none")).toBe("")
      expect(await cli("GET", "r:1")).toBe("hello")
      await expectTold("ON_READ r:1 hello", "read")
    })

    it("to a delete, with the value that went away", async () => {
      await tell("deleted", "d:*", "ON_DELETE")
      await cli("SET", "d:1", "hello")
      expect(await cli("DEL", "d:1")).toBe("1")
      await expectTold("ON_DELETE d:1 hello", "delete")
    })

    it("to an expiry that nobody looked at", async () => {
      await tell("expired", "x:*", "ON_EXPIRE")
      expect(await cli("SET", "x:1", "hello", "PX", "20")).toBe("OK")
      await expectTold("ON_EXPIRE x:1 hello", "expire")
      expect(await cli("EXISTS", "x:1")).toBe("0")
    })

    it("to an eviction, of what was used least recently", async () => {
      await cli("FLUSHALL")
      await tell("evicted", "e:*", "ON_EVICT")
      for (let at = 1; at <= 9; at++) await cli("SET", `e:${at}`, `v${at}`)
      await expectTold("ON_EVICT e:1 v1", "evict")
      expect(await cli("DBSIZE")).toBe("8")
    })

    it("once for each event: nobody was told anything else", async () => {
      await cli("FLUSHALL")
      await cli("SET", "w:last", "end")
      await expectTold("ON_WRITE w:last end", "write")
      expect([...messages.left, ...hooks.left]).toEqual([])
    })

    it("to ioredis and to node-redis alike", async () => {
      const ioredis = new Redis(served.port)
      await ioredis.call("TRIGGER", "SET", "copy", "user:*", "ON_WRITE", "cache.set('copy:' .. event.key, event.value)")
      await ioredis.set("user:1", "Ada")
      expect(await ioredis.get("copy:user:1")).toBe("Ada")
      const nodeRedis = createClient({ url: `redis://127.0.0.1:${served.port}` })
      await nodeRedis.connect()
      await nodeRedis.set("user:2", "Grace")
      expect(await nodeRedis.get("copy:user:2")).toBe("Grace")
      await nodeRedis.close()
      await ioredis.quit()
    })

    it("and none of it ends up in TRIGGER LOG", async () => {
      expect(await cli("TRIGGER", "LOG")).toBe("")
    })
  })
})
