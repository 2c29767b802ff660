/** Tenants and scripts over HTTP: who may ask what, what is answered, and what ends a run. */
import { readdirSync, readFileSync } from "node:fs"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { toFloat, type Value } from "../../src/kernel/index.ts"
import { ScriptQuotaExceeded, ScriptRuntimeError } from "../../src/scripting/index.ts"
import { spellings } from "../../src/server/EngineError.ts"
import { startTenantServer, type TenantServer } from "./TenantServer.ts"

const password = "open sesame"
const operator = `Basic ${Buffer.from(`mimosa:${password}`).toString("base64")}`
let server: TenantServer
let tokens: { readonly one: string; readonly two: string }
beforeEach(async () => {
  server = await startTenantServer({}, { password })
  await server.create("one")
  await server.create("two")
  tokens = { one: await server.token("one"), two: await server.token("two") }
})
afterEach(() => server.stop())

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: a test reads into whatever JSON it is answered
  readonly body: any
}

const ask = async (
  method: string,
  path: string,
  body?: unknown,
  who: string | undefined = operator
): Promise<Answer> => {
  const isText = typeof body === "string"
  const response = await fetch(server.url + path, {
    method,
    headers: {
      ...(who === undefined || who === "" ? {} : { authorization: who }),
      ...(body === undefined ? {} : { "content-type": isText ? "text/x-lua" : "application/json" })
    },
    ...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) })
  })
  const text = await response.text()
  const isJson = response.headers.get("content-type") === "application/json"
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : text }
}
const bearer = (token: string) => `Bearer ${token}`

describe("tenants over HTTP", () => {
  it("are made, shown, changed and removed by operators", async () => {
    const made = await ask("PUT", "/v1/tenants/three", { prefix: "t3", limits: { maxEntries: 5 } })
    expect([made.status, made.body]).toMatchObject([201, { id: "three", prefix: "t3", limits: { maxEntries: 5 } }])
    expect((await ask("GET", "/v1/tenants")).body.map(({ id }: { id: string }) => id)).toEqual(["one", "two", "three"])
    const changed = await ask("PUT", "/v1/tenants/three", { limits: { maxEntries: 6 } })
    expect([changed.status, changed.body.limits.maxEntries]).toEqual([200, 6])
    expect((await ask("PUT", "/v1/tenants/four")).status).toBe(201)
    expect((await ask("DELETE", "/v1/tenants/three")).body).toEqual({ removed: true })
    expect((await ask("GET", "/v1/tenants/three")).status).toBe(404)
  })

  it("have limits in either spelling, shown as the library has them", async () => {
    const made = await ask("PUT", "/v1/tenants/one", { limits: { compute_ms: 20, waitMs: 30, "MAX-ENTRIES": 5 } })
    expect([made.status, made.body.limits]).toMatchObject([200, { computeMs: 20, waitMs: 30, maxEntries: 5 }])
    expect(Object.keys(made.body.limits)).not.toContain("compute_ms")
    expect((await ask("PUT", "/v1/tenants/one", { limits: { compute_ms: 0 } })).body.error).toBe(
      "limits.computeMs 0: it is a whole number from 1 to 60000"
    )
  })

  it("lose their token, and its connections, where operators say so", async () => {
    const bound = await server.as("one")
    expect((await ask("DELETE", "/v1/tenants/one/token")).body).toEqual({ removed: true })
    await bound.closed
    expect((await ask("GET", "/v1/tenants/one", undefined, bearer(tokens.one))).status).toBe(401)
    expect((await ask("DELETE", "/v1/tenants/one/token")).body).toEqual({ removed: false })
    expect((await ask("DELETE", "/v1/tenants/two/token", undefined, bearer(tokens.two))).status).toBe(403)
  })

  it.each([
    [409, "the tenant's prefix is 'one'", "PUT", "/v1/tenants/one", { prefix: "x" }],
    [409, "cannot be told apart", "PUT", "/v1/tenants/x", { prefix: "one:x" }],
    [400, "limits.maxEntries", "PUT", "/v1/tenants/one", { limits: { maxEntries: "many" } }],
    [400, "limits.max", "PUT", "/v1/tenants/one", { limits: { max: 1 } }],
    [400, "limits is an object", "PUT", "/v1/tenants/one", { limits: [] }],
    [400, "'prefx' is no field here; there are prefix, limits", "PUT", "/v1/tenants/x", { prefx: "x" }],
    [400, "env 'print': cannot be named so", "PUT", "/v1/tenants/one/env/print", 1],
    [400, "id 'a b'", "PUT", "/v1/tenants/a%20b", {}],
    [404, "no tenant has the id 'nobody'", "GET", "/v1/tenants/nobody", undefined],
    [404, "no tenant has the id 'nobody'", "GET", "/v1/tenants/nobody/scripts", undefined],
    [404, "no such path", "GET", "/v1/tenants//scripts", undefined],
    [405, "use GET or PUT or DELETE", "POST", "/v1/tenants/one", undefined]
  ])("are refused with %i: %s", async (status, error, method, path, body) => {
    const answer = await ask(method, path, body)
    expect([answer.status, answer.body.error]).toEqual([status, expect.stringContaining(error)])
  })

  it("that a program has opened by its prefix alone are kept when they are named, with limits changed or not", async () => {
    for (const [body, maxEntries] of [
      [{ limits: { maxEntries: 7 } }, 7],
      [{ prefix: "opened" }, 7]
    ] as const) {
      const opened = server.tenants.open("opened")
      expect(opened).toMatchObject({ id: "opened", isSaved: body.prefix !== undefined })
      const answer = await ask("PUT", "/v1/tenants/opened", body)
      expect([answer.status, answer.body]).toMatchObject([200, { isSaved: true, limits: { maxEntries } }])
      expect(server.tenants.get("opened")).toBe(opened)
    }
    server.tenants.open("other:prefix")
    const other = await ask("PUT", "/v1/tenants/other_prefix", { limits: { logLines: 3 } })
    expect([other.status, other.body]).toMatchObject([
      200,
      { prefix: "other:prefix", isSaved: true, limits: { logLines: 3 } }
    ])
    expect((await ask("PUT", "/v1/tenants/opened", { limits: { maxEntries: 0 } })).status).toBe(400)
  })

  it("have an environment, of which the names are shown", async () => {
    expect((await ask("PUT", "/v1/tenants/one/env/token", ["s3cret"])).body).toEqual({ saved: true })
    const { text, body } = await ask("GET", "/v1/tenants/one")
    expect([body.env, text.includes("s3cret")]).toEqual([["token"], false])
    expect((await ask("DELETE", "/v1/tenants/one/env/token")).body).toEqual({ removed: true })
    expect(server.tenants.get("one")?.env.size).toBe(0)
  })

  it("have keys, with values in the exact form", async () => {
    const path = `/v1/tenants/one/keys/${encodeURIComponent("a/b:é?")}`
    await fetch(`${server.url}${path}?ttl=1.5`, {
      method: "PUT",
      headers: { authorization: operator, "content-type": "application/json" },
      body: '{"n":1.0,"b":{"$bytes":"/wA="}}'
    })
    const entry = server.tenants.get("one")?.keyspace.peek(Buffer.from("a/b:é?").toString("latin1"))
    expect(entry?.value).toMatchObject({ n: toFloat(1) })
    const read = await ask("GET", path, undefined, bearer(tokens.one))
    expect(read.text).toBe(
      `{"key":"a/b:é?","value":{"n":1.0,"b":{"$bytes":"/wA="}},"expiresAtMs":${entry?.expiresAtMs}}`
    )
    expect((await ask("PUT", `${path}?ttl=0`, 1)).status).toBe(400)
    expect((await ask("DELETE", path)).body).toEqual({ removed: true })
    expect((await ask("GET", path)).status).toBe(404)
  })
})

describe("scripts over HTTP", () => {
  beforeEach(() => {
    server.plays.set("echo", ({ args }) => ({ value: args as unknown as Value }))
  })

  it("are set as Lua or as JSON, shown, run and removed by the tenant", async () => {
    const own = bearer(tokens.one)
    expect((await ask("PUT", "/v1/tenants/one/scripts/main", "echo", own)).body).toMatchObject({
      name: "main",
      bytes: 4
    })
    expect((await ask("PUT", "/v1/tenants/one/scripts/main", { source: "echo" }, own)).status).toBe(200)
    expect((await ask("GET", "/v1/tenants/one/scripts", undefined, own)).body).toMatchObject([{ name: "main" }])
    expect((await ask("GET", "/v1/tenants/one/scripts/main", undefined, own)).body.source).toBe("echo")
    const ran = await ask("POST", "/v1/tenants/one/scripts/main/run", { function: "main", args: [1, "é"] }, own)
    expect([ran.status, ran.text]).toEqual([200, '{"result":[1,"\xc3\xa9"]}'])
    expect((await ask("GET", "/v1/tenants/one/log?after=2", undefined, own)).body.lines).toMatchObject([
      { number: 3, text: "one é 3" }
    ])
    expect((await ask("DELETE", "/v1/tenants/one/scripts/main", undefined, own)).body).toEqual({ removed: true })
    expect((await ask("GET", "/v1/tenants/one/scripts/main", undefined, own)).status).toBe(404)
  })

  it("take arguments and give results in the exact form, with a seed", async () => {
    let seen: unknown
    server.plays.set("keep", ({ args, seed, entry }) => {
      seen = [args, seed, entry]
      return { value: toFloat(2) }
    })
    const response = await fetch(`${server.url}/v1/tenants/one/run`, {
      method: "POST",
      headers: { authorization: operator, "content-type": "application/json" },
      body: '{"source":"keep","function":"f","args":[1.0,{"$bytes":"/w=="},"é"],"seed":7}'
    })
    expect(await response.text()).toBe('{"result":2.0}')
    expect(seen).toEqual([[toFloat(1), "\xff", "\xc3\xa9"], 7, "f"])
  })

  it("that fail say where, and a quota when to try again", async () => {
    const broken = { script: "main", line: 3, reason: "boom", traceback: "stack" }
    server.plays.set("fail", () => ({ error: new ScriptRuntimeError(broken) }))
    expect(await ask("POST", "/v1/tenants/one/run", { source: "fail" })).toMatchObject({
      status: 422,
      body: { error: "main:3: boom", code: "ScriptRuntimeError", script: "main", line: 3, traceback: "stack" }
    })
    const quota = { script: "main", tenant: "one", what: "fuel", limit: 5, retryAfterMs: 1200 } as const
    server.plays.set("fail", () => ({ error: new ScriptQuotaExceeded(quota) }))
    const refused = await ask("POST", "/v1/tenants/one/run", { source: "fail" })
    expect([refused.status, refused.headers.get("retry-after"), refused.body.retryAfterMs]).toEqual([429, "2", 1200])
    expect(refused.body.error).toContain(
      '; an operator raises it by PUT /v1/tenants/one {"limits":{"fuelPerSecond":<n>}}'
    )
  })

  it("that fail by a defect say nothing of it", async () => {
    server.plays.set("fail", () => ({ error: new Error("/secret/path") }))
    const { status, text } = await ask("POST", "/v1/tenants/one/run", { source: "fail" }, bearer(tokens.one))
    expect([status, text]).toEqual([500, '{"error":"an internal error"}'])
  })

  it.each([
    [400, "give source", { args: [] }],
    [400, "args is a list", { source: "echo", args: 1 }],
    [400, "function is the name", { source: "echo", function: 1 }],
    [400, "'sauce' is no field here", { sauce: "echo" }],
    [400, "the body is no JSON object", []],
    [415, "the body is JSON", "source"]
  ])("are not run, with %i: %s", async (status, error, body) => {
    const answer = await ask("POST", "/v1/tenants/one/run", body)
    expect([answer.status, answer.body.error]).toEqual([status, expect.stringContaining(error)])
  })

  it("take arguments that are as deep as any value, and none that are deeper", async () => {
    server.plays.set("echo", ({ args }) => ({ value: args[0] as Value }))
    const run = (args: string) =>
      fetch(`${server.url}/v1/tenants/one/run`, {
        method: "POST",
        headers: { authorization: operator, "content-type": "application/json" },
        body: `{"source":"echo","args":${args}}`
      }).then((response) => response.text())
    const [lists, maps] = [`${"[".repeat(16)}${"]".repeat(16)}`, `${'{"a":'.repeat(16)}1${"}".repeat(16)}`]
    expect(await run(`[${lists}]`)).toBe(`{"result":${lists}}`)
    expect(await run(`[${maps}]`)).toBe(`{"result":${maps}}`)
    expect(await run(`[[${lists}]]`)).toContain("nested deeper than 16 levels")
    expect(await run(`[{"a":${maps}}]`)).toContain("nested deeper than 16 levels")
  })

  it("end when nobody waits for them any more", async () => {
    let begun = () => {}
    const isBegun = new Promise<void>((resolve) => {
      begun = resolve
    })
    server.plays.set("endless", () => {
      begun()
      return new Promise(() => {})
    })
    const aborting = new AbortController()
    const asked = fetch(`${server.url}/v1/tenants/one/run`, {
      method: "POST",
      headers: { authorization: operator, "content-type": "application/json" },
      body: '{"source":"endless"}',
      signal: aborting.signal
    }).catch(() => "gone")
    await isBegun
    aborting.abort()
    expect(await asked).toBe("gone")
    while (server.ended.length === 0) await new Promise(setImmediate)
    expect(server.ended).toEqual(["one/script"])
  })
})

/** Every route of the API, as its own document tells of it. */
const routes = async (): Promise<Array<readonly [method: string, path: string, security: readonly object[]]>> => {
  const { body } = await ask("GET", "/v1/openapi.json")
  return Object.entries(body.paths).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, { readonly security: readonly object[] }>).map(
      ([method, { security }]) => [method.toUpperCase(), path, security] as const
    )
  )
}

describe("who may ask", () => {
  const isOpen = (path: string) => path === "/healthz" || path === "/readyz"
  const fill = (path: string, tenant: string) => path.replace("{tenant}", tenant).replace(/\{\w+\}/g, "x")
  const bodyFor = (method: string) => (method === "GET" || method === "DELETE" ? undefined : {})

  it("is nobody without a password or a token, of any route but those that health checks ask", async () => {
    const old = tokens.one
    await server.token("one")
    for (const [method, path] of await routes()) {
      for (const who of ["", bearer("wrong"), bearer(old), "Basic eDp5", bearer("mt_one_x")]) {
        const { status } = await ask(method, fill(path, "one"), bodyFor(method), who)
        expect([method, path, who, status]).toEqual([method, path, who, isOpen(path) ? 200 : 401])
      }
    }
  })

  it("is a tenant of what is its own alone, and hears the same of others whether they are there or not", async () => {
    const own = bearer(tokens.one)
    server.tenants.get("two")?.keyspace.set("x", "two's")
    for (const [method, path, security] of await routes()) {
      const isForTenants = security.length === 2
      const allowed = isForTenants || isOpen(path)
      const there = await ask(method, fill(path, "one"), bodyFor(method), own)
      expect([method, path, there.status === 403]).toEqual([method, path, !allowed])
      expect([method, path, there.status === 401]).toEqual([method, path, false])
      if (!path.includes("{tenant}")) continue
      const [other, none] = [
        await ask(method, fill(path, "two"), bodyFor(method), own),
        await ask(method, fill(path, "nobody"), bodyFor(method), own)
      ]
      expect([method, path, other.status, other.text]).toEqual([method, path, 403, none.text])
    }
    expect(server.tenants.get("two")?.keyspace.size).toBe(1)
    expect((await ask("GET", "/v1/tenants/two/keys/x")).body.value).toBe("two's")
  })

  it("is everybody where there is no password, but for who says a token that is void", async () => {
    await server.stop()
    server = await startTenantServer()
    await server.create("one")
    const token = await server.token("one")
    expect((await ask("GET", "/v1/tenants/one", undefined, "")).status).toBe(200)
    expect((await ask("GET", "/v1/tenants", undefined, bearer(token))).status).toBe(403)
    expect((await ask("GET", "/v1/tenants", undefined, bearer(`${token}x`))).status).toBe(401)
  })

  it("gets a token from operators", async () => {
    const { status, body } = await ask("POST", "/v1/tenants/one/token", {})
    expect([status, server.tenants.byToken(body.token)?.id]).toEqual([201, "one"])
    expect((await ask("GET", "/v1/tenants/one", undefined, bearer(tokens.one))).status).toBe(401)
  })
})

describe("the API tells of itself", () => {
  it("as an OpenAPI document with all that is served", async () => {
    const { body } = await ask("GET", "/v1/openapi.json")
    expect(body.openapi).toBe("3.1.0")
    expect(Object.keys(body.paths["/v1/tenants/{tenant}/scripts/{name}"])).toEqual(["get", "put", "delete"])
    const operations = Object.values(body.paths).flatMap((methods) => Object.values(methods as object))
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toContain("postV1TenantsTenantScriptsNameRun")
    for (const { parameters } of operations) {
      for (const { name, in: place, schema } of parameters) expect([name, place, schema]).not.toContain(undefined)
    }
  })

  it("as a page that loads nothing and runs nothing", async () => {
    const { text, headers } = await ask("GET", "/docs", undefined, bearer(tokens.one))
    expect(headers.get("content-type")).toBe("text/html; charset=utf-8")
    expect(headers.get("content-security-policy")).toBe("default-src 'none'; style-src 'unsafe-inline'")
    for (const [method, path] of await routes()) expect(text).toContain(`<h2>${method} ${path}</h2>`)
    expect(text).not.toMatch(/<script|https?:|src=/)
  })

  it("with a spelling for every error of tenants, scripts and triggers", () => {
    const tags = ["../../src/scripting/", "../../src/cache/", "../../src/triggers/"].flatMap((folder) => {
      const at = new URL(folder, import.meta.url)
      return readdirSync(at)
        .filter((name) => /^(?:Script\w*|Cache\w*|TriggerError)\.ts$/.test(name))
        .flatMap((name) => [...readFileSync(new URL(name, at), "utf8").matchAll(/TaggedError\("(\w+)"\)/g)])
        .map(([, tag]) => tag as string)
    })
    const ofWrites = ["InvalidValue", "InvalidTtl", "EntryTooLarge", "Rejected", "InvalidBytes", "InvalidExpiryOwner"]
    const ofLoads = ["InvalidLoader", "LoadFailed", "LoadTimedOut", "TooManyLoads"]
    const elsewhere = [...ofWrites, ...ofLoads, "InvalidPrefix", "InvalidAckMode", "NotAcknowledged"] // the cache's own
    expect(tags.filter((tag) => !Object.hasOwn(spellings, tag) && !elsewhere.includes(tag))).toEqual([])
    expect(Object.keys(spellings).filter((tag) => !tags.includes(tag))).toEqual([])
  })
})
