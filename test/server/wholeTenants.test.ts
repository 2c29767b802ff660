/** Tenants over the wire with the program that `mimosa serve` runs: their keys, triggers, scripts and channels are real. */
import { Layer, Logger, ManagedRuntime } from "effect"
import { afterEach, expect, it } from "vitest"
import { layerWith, type Settings } from "../../src/App.ts"
import { CacheClock, TurnClock } from "../../src/cache/index.ts"
import { listeners } from "../../src/cli/listeners.ts"
import { listenerName as httpName } from "../../src/server/HttpListener.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { listenerName as respName } from "../../src/server/RespListener.ts"
import { ServerStats } from "../../src/server/ServerState.ts"
import { temporaryFolder } from "../cli/Mimosa.ts"
import { RawClient } from "./RawClient.ts"

const toClose: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const close of toClose.splice(0).reverse()) await close()
})

/** A program with these settings, and what connects to it. */
const serving = async (settings: Settings = {}) => {
  const clock = new TurnClock()
  const readiness = new Readiness([httpName, respName])
  const ports = { host: "127.0.0.1", port: 0, httpPort: 0, password: "secret", enableDebugCommand: false }
  const program = layerWith(settings, [listeners({ ...ports, clock, readiness, stats: new ServerStats() })], {
    clock: Layer.succeed(CacheClock, clock)
  })
  const runtime = ManagedRuntime.make(Layer.provide(program, Logger.remove(Logger.defaultLogger)))
  await runtime.runPromise(CacheClock)
  const clients: RawClient[] = []
  const stop = async () => {
    for (const client of clients) await client.close()
    await runtime.dispose()
  }
  toClose.push(stop)
  const connect = async (...login: readonly string[]) => {
    const client = await RawClient.connect(readiness.portOf(respName) as number)
    clients.push(client)
    await client.send("AUTH", ...login)
    return client
  }
  return { connect, stop, end: () => runtime.dispose(), url: `http://127.0.0.1:${readiness.portOf(httpName)}` }
}

const ok = "+OK\r\n"
const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`

const counter = `
function main(by)
  local count = cache.incr("user_count", by)
  cache.put("last", { by = by, name = owner })
  print("counted " .. count)
  return count
end
function forever() while true do end end
function broken() error("boom") end
function echo(...) return ... end
`

it("a tenant's scripts work on its own keys, which operators see as they are displayed", async () => {
  const { connect } = await serving()
  const operator = await connect("secret")
  for (const id of ["tenant_123", "tenant_456"]) {
    expect(await operator.send("TENANT", "CREATE", id)).toBe(ok)
    expect(await operator.send("TENANT", "ENV", "SET", id, "owner", `"of ${id}"`)).toBe(ok)
    expect(await operator.send("SCRIPT.SET", id, "counter", counter)).toBe(ok)
  }
  expect(await operator.send("SCRIPT.RUN", "tenant_123", "counter", "main", "2")).toBe(bulk("2"))
  expect(await operator.send("SCRIPT.RUN", "tenant_123", "counter", "main", "3")).toBe(bulk("5"))
  expect(await operator.send("SCRIPT.RUN", "tenant_456", "counter", "main", "1")).toBe(bulk("1"))
  expect(
    await operator.pipeline([
      ["GET", "tenant_123:user_count"],
      ["GET", "tenant_456:user_count"]
    ])
  ).toEqual([bulk("5"), bulk("1")])
  const own = await connect("tenant_456", await token(operator, "tenant_456"))
  expect(await own.send("GET", "last")).toContain('"name":"of tenant_456"')
  expect(await own.send("SCRIPT.LOG", "tenant_456")).toContain("counted 1")
  expect(await own.send("SCRIPT.LOG", "tenant_456")).not.toContain("counted 5")
  expect(await own.send("KEYS", "*user*")).toBe("*1\r\n$10\r\nuser_count\r\n")
})

const token = async (operator: RawClient, id: string) =>
  (await operator.send("TENANT", "TOKEN", id)).split("\r\n")[1] as string

it("what a script fails with is one line, and the others go on", async () => {
  const { connect } = await serving()
  const operator = await connect("secret")
  await operator.send("TENANT", "CREATE", "one")
  await operator.send("SCRIPT.SET", "one", "counter", counter)
  const other = await connect("secret")
  const run = (client: RawClient, name: string, ...args: readonly string[]) =>
    client.send("SCRIPT.RUN", "one", "counter", name, ...args)
  const burning = run(operator, "forever")
  expect(await other.send("PING")).toBe("+PONG\r\n")
  expect(await run(other, "main", "1")).toBe(bulk("1"))
  // The line is known where its time was over within a slice, not between two.
  expect(await burning).toMatch(/^-SCRIPTTIMEOUT counter(:8)?: [^\r\n]*\r\n$/)
  expect(await run(other, "broken")).toMatch(/^-SCRIPTERROR counter:9: boom\r\n$/)
  expect(await run(other, "nothing")).toMatch(/^-NOSCRIPT counter: [^\r\n]*main/)
  expect(await other.send("SCRIPT.SET", "one", "bad", "function main( end")).toMatch(/^-SCRIPTSYNTAX bad:1:/)
  expect(await other.send("SCRIPT.RUN", "one", "bad", "main")).toMatch(/^-NOSCRIPT /)
  const values = ["1", "1.0", "-0.0", '{"$float":"nan"}', '{"a":[1,2.5,"x"]}', '{"$bytes":"/w=="}', "null"]
  for (const value of values) expect(await run(other, "echo", value)).toBe(bulk(value))
})

it("a script's writes fire its tenant's triggers, which speak on its tenant's channels", async () => {
  const { connect } = await serving()
  const operator = await connect("secret")
  for (const id of ["one", "two"]) {
    await operator.send("TENANT", "CREATE", id)
    await operator.send("SCRIPT.SET", id, "counter", counter)
    const acting = await connect("secret")
    expect(await acting.send("TENANT", "USE", id)).toBe(ok)
    const source = `cache.set("seen", "${id} " .. event.key) cache.emit("counted", event.key) cache.log("audit", event.key)`
    expect(await acting.send("TRIGGER", "SET", "t", "user_*", "ON_WRITE", source)).toBe(ok)
  }
  const one = await connect("one", await token(operator, "one"))
  const two = await connect("two", await token(operator, "two"))
  await one.send("SUBSCRIBE", "counted")
  await two.send("SUBSCRIBE", "counted")
  expect(await operator.send("SCRIPT.RUN", "one", "counter", "main", "1")).toBe(bulk("1"))
  expect(await one.reply()).toBe("*3\r\n$7\r\nmessage\r\n$7\r\ncounted\r\n$10\r\nuser_count\r\n")
  expect(
    await operator.pipeline([
      ["GET", "one:seen"],
      ["EXISTS", "two:seen"],
      ["TRIGGER", "LIST"]
    ])
  ).toEqual([bulk("one user_count"), ":0\r\n", "*0\r\n"])
  const reader = await connect("two", await token(operator, "two"))
  expect(await reader.send("LOGS", "audit")).toBe("*0\r\n")
  expect(await reader.send("TRIGGER", "LIST")).toContain("user_*")
  expect(await operator.send("TENANT", "DEL", "one")).toBe(":1\r\n")
  await one.closed
  expect(await reader.send("TRIGGER", "LIST")).toContain("user_*")
})

it("a tenant's triggers are registered and removed over HTTP by operators, and read by its token", async () => {
  const { connect, url } = await serving()
  const operator = await connect("secret")
  const tokens: Record<string, string> = {}
  for (const id of ["one", "two"]) {
    await operator.send("TENANT", "CREATE", id)
    tokens[id] = await token(operator, id)
  }
  const ask = async (method: string, path: string, who: string, body?: unknown) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${who}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
    // biome-ignore lint/suspicious/noExplicitAny: a test reads into whatever JSON it is answered
    return [response.status, (await response.json()) as any] as const
  }
  const base = "/v1/tenants/one/triggers"
  const source = `cache.set("seen", event.key) cache.log("audit", event.key) if event.value == "bad" then error("boom") end`
  const definition = { pattern: "user:*", events: ["ON_WRITE"], source }
  expect(await ask("PUT", `${base}/t`, "secret", definition)).toMatchObject([200, { name: "t", source, warnings: [] }])
  expect((await ask("PUT", `${base}/t`, tokens.one as string, definition))[0]).toBe(403)
  expect((await ask("DELETE", `${base}/t`, tokens.one as string))[0]).toBe(403)
  await operator.send("SET", "one:user:1", "a")
  await operator.send("SET", "one:user:2", "bad")
  expect(await operator.send("GET", "one:seen")).toBe(bulk("user:1"))
  const own = (path: string) => ask("GET", `/v1/tenants/one${path}`, tokens.one as string)
  expect(await own("/triggers")).toMatchObject([200, [{ name: "t", pattern: "user:*", runs: 2 }]])
  expect(await own("/triggers/t")).toMatchObject([200, { source }])
  expect(await own("/triggers/graph")).toMatchObject([200, { nodes: [{ name: "t" }] }])
  expect(await own("/triggers-log")).toMatchObject([200, [{ trigger: "t", key: "user:2", kind: "error" }]])
  expect(await own("/logs")).toMatchObject([200, [{ stream: "audit", lines: 1 }]])
  expect(await own("/logs/audit")).toMatchObject([200, { lines: [{ message: "user:1" }] }])
  for (const path of ["/triggers", "/triggers-log", "/logs"]) {
    expect(await ask("GET", `/v1/tenants/two${path}`, tokens.two as string)).toEqual([200, []])
  }
  expect((await ask("GET", base, tokens.two as string))[0]).toBe(403)
  expect(await ask("GET", "/v1/triggers", "secret")).toEqual([200, []])
  const event = { source: "return event.key", event: "ON_WRITE", key: "user:9" }
  expect(await ask("POST", `${base}/test`, "secret", event)).toMatchObject([200, { status: "ok", result: "user:9" }])
  expect((await ask("POST", `${base}/test`, tokens.one as string, event))[0]).toBe(403)
  const [status, { error }] = await ask("PUT", "/v1/triggers/x", "secret", { ...definition, pattern: "one:user:*" })
  expect([status, error]).toEqual([409, expect.stringContaining("keys that begin with 'one:' are a tenant's")])
  expect(await ask("DELETE", `${base}/t`, "secret")).toEqual([200, { removed: true }])
  expect(await own("/triggers")).toEqual([200, []])
})

it("a run that somebody waits for when the server ends is answered, over RESP and over HTTP", async () => {
  const { connect, end, url } = await serving()
  const operator = await connect("secret")
  await operator.send("TENANT", "CREATE", "one", "LIMIT", "compute_ms", "60000")
  const source = "function main(name) print(name) while true do end end"
  await operator.send("SCRIPT.SET", "one", "endless", source)
  const waiting = await connect("secret")
  const overResp = waiting.send("SCRIPT.RUN", "one", "endless", "main", '"by resp"')
  const overHttp = fetch(`${url}/v1/tenants/one/scripts/endless/run`, {
    method: "POST",
    headers: { authorization: "Bearer secret", "content-type": "application/json" },
    body: '{"args":["by http"]}'
  })
  for (let log = ""; !(log.includes("by resp") && log.includes("by http")); ) {
    log = await operator.send("SCRIPT.LOG", "one")
  }
  const [said, response] = await Promise.all([overResp, overHttp, end()])
  expect(said).toMatch(/^-SCRIPTENDED endless/)
  expect([response.status, await response.json()]).toEqual([503, { error: "ended because the server stops" }])
})

it("tenants, tokens, environments and scripts survive a restart", async () => {
  const { path: dataDir, remove } = await temporaryFolder()
  toClose.push(remove)
  const first = await serving({ dataDir })
  const operator = await first.connect("secret")
  await operator.send("TENANT", "CREATE", "one", "PREFIX", "tenant_1", "LIMIT", "max_entries", "7")
  await operator.send("TENANT", "ENV", "SET", "one", "owner", '"me"')
  await operator.send("SCRIPT.SET", "one", "counter", counter)
  const said = await token(operator, "one")
  await first.stop()
  const second = await serving({ dataDir })
  const own = await second.connect("one", said)
  expect(await own.send("SCRIPT.RUN", "one", "counter", "main", "1")).toBe(bulk("1"))
  expect(await own.send("GET", "last")).toContain('"name":"me"')
  const response = await fetch(`${second.url}/v1/tenants/one`, { headers: { authorization: `Bearer ${said}` } })
  expect(await response.json()).toMatchObject({ prefix: "tenant_1", limits: { maxEntries: 7 }, env: ["owner"] })
})
