/**
 * The life of triggers on a served process, told over the wire as a person would live it: redis-cli registers from stdin,
 * a Redis client does the rest. The tests are chapters: each begins where the one before it ended.
 */
import { setTimeout as pause } from "node:timers/promises"
import { Redis } from "ioredis"
import { afterAll, beforeAll, expect, it } from "vitest"
import { describeBuilt, type Served, serve, temporaryFolder } from "../cli/Mimosa.ts"
import { describeWith } from "../servers/describeWith.ts"
import { redisCli } from "../servers/Redis.ts"

describeBuilt("triggers over the wire", () => {
  describeWith(["redis-cli"])("with redis-cli and ioredis", () => {
    let folder: Awaited<ReturnType<typeof temporaryFolder>>
    let served: Served
    let redis: Redis
    const open = async () => {
      served = await serve(folder.path)
      redis = new Redis({ port: served.port, retryStrategy: () => null })
    }
    const close = async () => {
      redis.disconnect()
      expect(await served.stop()).toBe(0)
    }
    beforeAll(async () => {
      folder = await temporaryFolder()
      await open()
    })
    afterAll(async () => {
      await close()
      await folder.remove()
    })

    const trigger = (...words: readonly string[]) => redis.call("TRIGGER", ...words)
    /** What a flat list of fields and values says. */
    const fieldsOf = (reply: unknown): Record<string, unknown> => {
      const list = reply as readonly unknown[]
      return Object.fromEntries(Array.from({ length: list.length / 2 }, (_, at) => [list[2 * at], list[2 * at + 1]]))
    }
    const recordsOf = (reply: unknown) => (reply as readonly unknown[]).map(fieldsOf)
    const info = async (name: string) => fieldsOf(await trigger("INFO", name))

    const guard = "email:_all:BEFORE_WRITE"

    it("registers what redis-cli reads from stdin, under a name that it answers", async () => {
      const source = `-- e-mail addresses only, in lower case: ü
if not string.find(event.value, "@") then cache.reject("this is no e-mail address") end
cache.log("emails", { key = event.key })
return string.lower(event.value)
`
      const register = ["-x", "TRIGGER", "REGISTER", "email:*", "BEFORE_WRITE", "FAILCLOSED"]
      expect(await redisCli(served.port, register, source)).toBe(`${guard}\n`)
      expect(await info(guard)).toMatchObject({ status: "active", version: 1, options: "FAILCLOSED", source })
      expect(
        await redisCli(served.port, ["-x", "TRIGGER", "REGISTER", "email:*", "ON_WRITE"], "return return")
      ).toContain("ERR trigger: source: email:_all:ON_WRITE:1:8: unexpected symbol near 'return'")
    })

    it("refuses a write with the trigger's words, and stores what it makes of the others", async () => {
      await expect(redis.set("email:1", "nobody")).rejects.toThrow(/^REJECTED this is no e-mail address$/)
      expect(await redis.exists("email:1")).toBe(0)
      expect(await redis.set("email:1", "Ada@Example.org", "EX", 100)).toBe("OK")
      expect([await redis.get("email:1"), await redis.ttl("email:1")]).toEqual(["ada@example.org", 100])
      expect(recordsOf(await redis.call("LOGS", "emails"))).toMatchObject([
        { number: 1, fields: '{"key":"email:1"}', trigger: guard, event: "BEFORE_WRITE", key: "email:1" }
      ])
    })

    it("runs a new version from the next event on, and an earlier one again after a rollback", async () => {
      await trigger("SET", guard, "email:*", "BEFORE_WRITE", "return string.upper(event.value)")
      await redis.set("email:2", "x")
      expect(await redis.get("email:2")).toBe("X")
      await expect(trigger("SET", guard, "email:*", "BEFORE_WRITE", "return return")).rejects.toThrow(/:1:8: /)
      expect(await trigger("ROLLBACK", guard)).toBe(1)
      await expect(redis.set("email:2", "x")).rejects.toThrow("REJECTED")
      expect(recordsOf(await trigger("VERSIONS", guard))).toMatchObject([
        { version: 2, live: 0 },
        { version: 1, live: 1 }
      ])
    })

    const stock = "if tonumber(event.value) == 0 then cache.set('sold-out:' .. event.key, 'yes') end"

    it("lets a shadow run beside a trigger, and drops what it would do", async () => {
      await trigger("SET", "stock", "stock:*", "ON_WRITE", stock)
      await trigger("SHADOW", "stock", stock.replace("== 0", "< 5"))
      for (const [key, value] of Object.entries({ a: "0", b: "3", c: "9" })) await redis.set(`stock:${key}`, value)
      expect(await redis.keys("sold-out:*")).toEqual(["sold-out:stock:a"])
      expect(await info("stock")).toMatchObject({ runs: 3, writes: 1, shadow_runs: 3, shadow_writes: 2 })
      expect(await trigger("SHADOW", "stock", "DROP")).toBe(1)
    })

    it("tries a source on what has happened, against the version that runs", async () => {
      const source = stock.replace("== 0", "< 5")
      const report = fieldsOf(await trigger("TEST", "stock", "SOURCE", source, "HISTORY", "1000"))
      expect(report).toMatchObject({ matched: 3, differ: 1 })
      expect([report.sum, report.current].map((sum) => JSON.parse(sum as string))).toMatchObject([
        { ok: 3, writes: 2 },
        { ok: 3, writes: 1 }
      ])
      const runs = (report.runs as readonly string[]).map((run) => JSON.parse(run))
      expect(runs.map(({ key, current }) => [key, current?.writes])).toEqual([
        ["stock:a", undefined],
        ["stock:b", []],
        ["stock:c", undefined]
      ])
      expect(await redis.keys("sold-out:*")).toEqual(["sold-out:stock:a"])
    })

    it("answers the same over HTTP, and the log streams", async () => {
      const url = `http://127.0.0.1:${served.httpPort}/v1`
      // biome-ignore lint/suspicious/noExplicitAny: what the answers are is what is tested
      const jsonOf = (response: Response): Promise<any> => response.json()
      const post = async (body: object) => {
        const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }
        return jsonOf(await fetch(`${url}/triggers/test`, init))
      }
      const get = async (path: string) => jsonOf(await fetch(`${url}${path}`))
      const source = stock.replace("== 0", "< 5")
      expect(await post({ name: "stock", source, history: 1000 })).toMatchObject({ matched: 3, differ: 1 })
      expect(await post({ name: guard, event: "BEFORE_WRITE", key: "email:3", value: "nobody" })).toMatchObject({
        status: "rejected",
        error: "this is no e-mail address"
      })
      expect(await get("/triggers")).toMatchObject([{ name: guard }, { name: "stock", runs: 3 }])
      expect((await get("/triggers/graph")).nodes[1]).toMatchObject({
        name: "stock",
        writes: { patterns: ["sold-out:stock:*"] }
      })
      expect((await get("/logs/emails?after=0")).lines).toMatchObject([{ number: 1, fields: { key: "email:1" } }])
    })

    it("takes a trigger out that fails too often, alone, and has it back when a probe goes well", async () => {
      const source = "if event.value == 'bad' then error('bad') end cache.set('last', event.value)"
      await trigger("SET", "shaky", "stock:*", "ON_WRITE", source)
      const writes = redis.pipeline()
      for (let n = 0; n < 120; n++) writes.set("stock:a", "bad")
      await writes.exec()
      const shaky = await info("shaky")
      expect(shaky).toMatchObject({
        status: "quarantined",
        quarantine: expect.stringContaining("failed more than 100 times")
      })
      expect(Number(shaky.runs) + Number(shaky.skipped_quarantined)).toBe(120)
      expect(Number(shaky.skipped_quarantined)).toBeGreaterThan(0)
      expect(await info("stock")).toMatchObject({ status: "active", runs: 123 })
      const log = recordsOf(await trigger("LOG", "1000")).filter((record) => record.trigger === "shaky")
      expect(new Set(log.map(({ kind }) => kind))).toEqual(new Set(["error", "skipped:quarantined"]))

      // A while later one event is let through as a probe, and the trigger is back when that goes well.
      while ((await info("shaky")).status === "quarantined") {
        await redis.set("stock:a", "good")
        await pause(20)
      }
      expect(await redis.get("last")).toBe("good")
    })

    it("has it back at once when it is enabled", async () => {
      const writes = redis.pipeline()
      for (let n = 0; n < 101; n++) writes.set("stock:a", "bad")
      await writes.exec()
      expect((await info("shaky")).status).toBe("quarantined")
      await trigger("ENABLE", "shaky")
      await redis.set("stock:a", "better")
      expect(await redis.get("last")).toBe("better")
      expect(await info("shaky")).toMatchObject({ status: "active", quarantine: null })
    })

    it("has the same triggers after a restart, with their versions, and what was disabled", async () => {
      await trigger("DISABLE", "stock")
      await close()
      await open()
      expect(recordsOf(await trigger("LIST"))).toMatchObject([
        { name: guard, version: 1, status: "active" },
        { name: "stock", status: "disabled" },
        { name: "shaky", status: "active" }
      ])
      await expect(redis.set("email:2", "x")).rejects.toThrow("REJECTED")
      expect(await trigger("ROLLBACK", guard, "2")).toBe(2)
      await redis.set("email:2", "x")
      expect(await redis.get("email:2")).toBe("X")
      await redis.set("stock:a", "0")
      expect(await redis.exists("sold-out:stock:a")).toBe(0)
    })
  })
})
