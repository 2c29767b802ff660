/** One tenant's connections may take a share of what there is for all, and no more. */
import { once } from "node:events"
import { connect, type Socket } from "node:net"
import { afterEach, describe, expect, it } from "vitest"
import { startTenantServer, type TenantServer } from "./TenantServer.ts"

let server: TenantServer
afterEach(() => server.stop())
const nextRound = () => new Promise((resolve) => setImmediate(resolve))

describe("memory that is held for clients", () => {
  /** The head of a command with so many bytes to come, and some of them. */
  const unfinished = (bytes: number) => `*2\r\n$4\r\nECHO\r\n$10000000\r\n${"x".repeat(bytes)}`

  it("is an eighth of all for one tenant: who asks for more is disconnected, and nobody else", async () => {
    server = await startTenantServer({ clientBytesMax: 8_000_000 })
    await server.create("one")
    await server.create("two")
    const [first, second] = [await server.as("one"), await server.as("one")]
    const [neighbour, operator] = [await server.as("two"), await server.connect()]
    operator.write(unfinished(2_000_000))
    neighbour.write(unfinished(600_000))
    first.write(unfinished(600_000))
    const { state } = server.server
    while (state.clientBytes < 3_200_000) await nextRound()
    second.write(unfinished(600_000))
    await second.closed
    expect([state.stats.tenantMemoryDisconnections, state.stats.memoryDisconnections]).toEqual([1, 0])
    expect(first.socket.closed || neighbour.socket.closed || operator.socket.closed).toBe(false)
    for (const each of [first, neighbour, operator]) await each.close()
    while (state.clients.size > 0) await nextRound()
    expect([state.clientBytes, state.tenantBytes.size]).toEqual([0, 0])
  })

  it("says why, where the client can hear it", async () => {
    server = await startTenantServer({ clientBytesMax: 1_000_000 })
    await server.create("one")
    const client = await server.as("one")
    await client.send("MULTI")
    for (const bytes of [40_000, 40_000, 40_000, 4_500]) {
      expect(await client.send("SET", "a", "x".repeat(bytes))).toBe("+QUEUED\r\n")
    }
    expect(await client.send("SET", "a", "x".repeat(500))).toBe("+QUEUED\r\n")
    expect(await client.reply()).toMatch(/^-OOM the connections of this tenant hold 125000 bytes already: /)
    await client.closed
  })
})

describe("requests over HTTP", () => {
  const requestsMax = 128 // an eighth of all that are answered at once
  const run = (token: string) =>
    `POST /v1/tenants/one/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n` +
    `content-type: application/json\r\ncontent-length: 17\r\n\r\n{"source":"wait"}`

  it("are at most an eighth of all for one tenant; it is told to come later, and others are served", async () => {
    server = await startTenantServer()
    await server.create("one")
    await server.create("two")
    const [token, other] = [await server.token("one"), await server.token("two")]
    const waiting: Array<(outcome: { value: string }) => void> = []
    server.plays.set("wait", () => new Promise((resolve) => waiting.push(resolve)))
    const { port } = new URL(server.url)
    const sockets: Socket[] = []
    const ask = async () => {
      const socket = connect(Number(port), "127.0.0.1")
      sockets.push(socket)
      await once(socket, "connect")
      socket.write(run(token))
      return socket
    }
    for (let at = 0; at < requestsMax; at++) await ask()
    while (waiting.length < requestsMax) await nextRound()
    const [refusal] = await once(await ask(), "data")
    expect(String(refusal)).toMatch(
      /^HTTP\/1\.1 429 .*retry-after: 1\r\n.*"a tenant has at most 128 requests at once"/is
    )
    expect(String(refusal)).toContain('"code":"TooManyRequests"')
    const bearer = (said: string) => ({ headers: { authorization: `Bearer ${said}` } })
    expect((await fetch(`${server.url}/v1/tenants/two`, bearer(other))).status).toBe(200)
    expect((await fetch(`${server.url}/v1/tenants`)).status).toBe(200)
    expect(waiting).toHaveLength(requestsMax)
    // A place is free again when the answer has been taken.
    const [first] = sockets
    const answered = once(first as Socket, "data")
    waiting[0]?.({ value: "done" })
    expect(String((await answered)[0])).toContain('{"result":"done"}')
    expect((await fetch(`${server.url}/v1/tenants/one`, bearer(token))).status).toBe(200)
    for (const socket of sockets) socket.destroy()
  })

  it("are refused while too much that the tenant was answered waits to be read", async () => {
    server = await startTenantServer()
    const { keyspace } = await server.create("one")
    await server.create("two")
    const [token, other] = [await server.token("one"), await server.token("two")]
    keyspace.set("large", "x".repeat(32 * 1024 * 1024)) // the machine's sockets take some of it
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1")
    const get = `GET /v1/tenants/one/keys/large HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n\r\n`
    await once(socket, "connect")
    socket.write(get)
    await once(socket, "readable") // and reads no more
    const status = async (id: string, said: string) =>
      (await fetch(`${server.url}/v1/tenants/${id}`, { headers: { authorization: `Bearer ${said}` } })).status
    expect([await status("one", token), await status("two", other)]).toEqual([429, 200])
    socket.resume()
    while ((await status("one", token)) !== 200) await nextRound()
    socket.destroy()
  })
})
