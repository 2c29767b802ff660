/** The scripts of examples/lua/tenants, run as a host would run them. */
import { readdirSync, readFileSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import { layer } from "../../src/App.ts"
import { Tenants } from "../../src/cache/index.ts"
import { ScriptEngine } from "../../src/scripting/index.ts"
import { serve } from "./httpServer.ts"

const folder = fileURLToPath(new URL("../../examples/lua/tenants/", import.meta.url))

const load = (name: string) =>
  Effect.flatMap(ScriptEngine, (engine) => engine.compile(readFileSync(`${folder}${name}.lua`, "utf8"), { name }))

const provided = Effect.provide(layer({ httpAllow: ["127.0.0.1"], egressAllow: ["127.0.0.1"] }))

const tenant123 = { cachePrefix: "tenant_123" }
const tenant456 = { cachePrefix: "tenant_456" }

describe("the examples for tenants", () => {
  it("are all tried here", () => {
    const files = readdirSync(folder).map((file) => file.replace(/\.lua$/, ""))
    expect(files.sort()).toEqual(["api-cache", "expiring", "get-and-put", "rate-limit", "sessions", "user-count"])
  })

  it.scoped("get-and-put: every type comes back as it was, a stored nil among them", () =>
    Effect.gen(function* () {
      const script = yield* load("get-and-put")
      expect(yield* script.runMain([], tenant123)).toEqual({
        string: "Hello, world",
        bytes: 3,
        integer: 42,
        float: 3,
        boolean: false,
        list: [1, 2, 3],
        name: "Alice",
        score: 1.5
      })
    }).pipe(provided)
  )

  it.scoped("user-count: two tenants count apart, under tenant_123:user_count and tenant_456:user_count", () =>
    Effect.gen(function* () {
      const script = yield* load("user-count")
      for (const count of [1, 2, 3]) expect(yield* script.runMain([], tenant123)).toBe(count)
      expect(yield* script.runMain([], tenant456)).toBe(1)
      const tenants = yield* Tenants
      const shown = tenants.list().map((tenant) => {
        const keys: string[] = []
        tenant.keyspace.scan(0, 100, ({ key, value }) => keys.push(`${tenant.displayed(key)} = ${String(value)}`))
        return keys
      })
      expect(shown).toEqual([["tenant_123:user_count = 3"], ["tenant_456:user_count = 1"]])
      expect(tenants.route("tenant_456:user_count")?.id).toBe("tenant_456")
    }).pipe(provided)
  )

  it.scoped("expiring: a value of a second and a half is there after 1,499 ms and gone after 1,500", () =>
    Effect.gen(function* () {
      const script = yield* load("expiring")
      expect(yield* script.run("remember", [], tenant123)).toEqual({ kept: true, refused: false, ttl: 1.5 })
      yield* TestClock.adjust(1_499)
      expect(yield* script.run("recall", [], tenant123)).toBe("gone in a second and a half")
      yield* TestClock.adjust(1)
      expect(yield* script.run("recall", [], tenant123)).toBe("it has expired")
    }).pipe(provided)
  )

  it.scopedLive("api-cache: asks the API once in five minutes, and of each tenant's own", () =>
    Effect.gen(function* () {
      const asked: string[] = []
      const port = yield* serve((request, response) => {
        asked.push(`${request.url} ${request.headers.authorization}`)
        if (request.url === "/users/404") response.writeHead(404).end()
        else response.end(JSON.stringify({ id: 7, name: "Alice", score: 1.5 }))
      })
      const script = yield* load("api-cache")
      const env = { api_url: `http://127.0.0.1:${port}`, api_token: "secret" }
      const user = { id: 7, name: "Alice", score: 1.5 }
      const limits = { waitMs: 10_000 }
      const run = (id: number, whose: object) => script.runMain([id], { ...whose, env, limits })
      expect(yield* run(7, tenant123)).toEqual({ source: "api", user })
      expect(yield* run(7, tenant123)).toEqual({ source: "cache", user })
      expect(asked).toEqual(["/users/7 Bearer secret"])
      expect(yield* run(7, tenant456)).toEqual({ source: "api", user })
      expect(yield* run(404, tenant456)).toEqual({ source: "none", error: "status 404" })
      const elsewhere = { ...env, api_url: "http://elsewhere.example" }
      expect(yield* script.runMain([1], { ...tenant123, env: elsewhere })).toMatchObject({
        source: "none",
        error: expect.stringContaining("scripts may not reach elsewhere.example")
      })
    }).pipe(provided)
  )

  it.scoped("sessions: live half an hour from their last use", () =>
    Effect.gen(function* () {
      let last = 0
      const script = yield* load("sessions")
      const options = { ...tenant123, functions: { generate_session_id: () => `s${++last}` } }
      const call = (name: string, ...args: (string | object)[]) => script.run(name, args as never, options)
      expect(yield* call("create", "ada", { cart: [] })).toBe("s1")
      yield* TestClock.adjust("29 minutes")
      expect(yield* call("find", "s1")).toMatchObject({ user_id: "ada", created_at: 0 })
      yield* TestClock.adjust("29 minutes")
      expect(yield* call("update", "s1", { cart: ["book"] })).toBe(true)
      expect(yield* call("find", "s1")).toMatchObject({ data: { cart: ["book"] } })
      expect(yield* script.run("find", ["s1"], { ...options, ...tenant456 })).toBe(null)
      yield* TestClock.adjust("30 minutes")
      expect(yield* call("find", "s1")).toBe(null)
      expect(yield* call("create", "bob", {})).toBe("s2")
      expect(yield* call("finish", "s2")).toBe(true)
      expect(yield* call("finish", "s2")).toBe(false)
    }).pipe(provided)
  )

  it.scoped("rate-limit: lets so many through in a window, and begins anew after it", () =>
    Effect.gen(function* () {
      const script = yield* load("rate-limit")
      const check = script.run("check_rate_limit", ["ada", 2, 60], tenant123)
      expect(yield* check).toEqual({ allowed: true, remaining: 1, reset_in: 60 })
      yield* TestClock.adjust("59 seconds")
      expect(yield* check).toEqual({ allowed: true, remaining: 0, reset_in: 1 })
      expect(yield* check).toMatchObject({ allowed: false, remaining: 0 })
      expect(yield* script.run("check_rate_limit", ["ada", 2, 60], tenant456)).toMatchObject({ allowed: true })
      yield* TestClock.adjust("1 second")
      expect(yield* check).toEqual({ allowed: true, remaining: 1, reset_in: 60 })
    }).pipe(provided)
  )

  it.scopedLive("rate-limit: of 100 checks that wait in between, get and put let all through and incr so many", () =>
    Effect.gen(function* () {
      const count = 100
      const waiting: ServerResponse[] = []
      const port = yield* serve((_request, response) => {
        waiting.push(response)
        if (waiting.length < count) return
        for (const each of waiting.splice(0)) each.end()
      })
      const script = yield* load("rate-limit")
      const options = { ...tenant123, env: { audit_url: `http://127.0.0.1:${port}` }, limits: { waitMs: 60_000 } }
      const allowed = (name: string) =>
        Effect.map(
          Effect.all(
            Array.from({ length: count }, () => script.run(name, ["ada", 10, 60], options)),
            { concurrency: "unbounded" }
          ),
          (answers) => answers.filter((answer) => (answer as { allowed: boolean }).allowed).length
        )
      expect(yield* allowed("check_by_get_and_put")).toBe(count)
      expect(yield* allowed("check_with_audit")).toBe(10)
    }).pipe(provided)
  )
})
