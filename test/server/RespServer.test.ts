import { once } from "node:events"
import { connect } from "node:net"
import { afterEach, describe, expect, it } from "vitest"
import { entryBytes } from "../../src/kernel/index.ts"
import type { RespServerOptions } from "../../src/server/RespServer.ts"
import { encode, RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

describe("RespServer", () => {
  let server: TestServer
  const clients: RawClient[] = []

  const start = async (options: Partial<RespServerOptions> = {}, limits = {}) => {
    server = await startServer(options, limits)
  }
  const client = async () => {
    const connected = await RawClient.connect(server.port)
    clients.push(connected)
    return connected
  }

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((each) => each.close()))
    await server.stop()
  })

  it("answers a whole pipeline in one write", async () => {
    await start()
    const socket = connect(server.port, "127.0.0.1")
    await once(socket, "connect")
    const portions: string[] = []
    socket.on("data", (bytes: Buffer) => portions.push(bytes.toString("latin1")))
    socket.write(encode(["SET", "a", "1"]) + encode(["GET", "a"]) + encode(["PING"]) + encode(["QUIT"]))
    await once(socket, "close")
    expect(portions).toEqual(["+OK\r\n$1\r\n1\r\n+PONG\r\n+OK\r\n"])
  })

  it("answers what came before a broken command, says what broke, and closes", async () => {
    await start()
    const each = await client()
    each.write(`${encode(["PING"])}*1\r\n!`)
    each.write("\r\n")
    expect(await each.reply()).toBe("+PONG\r\n")
    expect(await each.reply()).toBe("-ERR Protocol error: expected '$', got '!'\r\n")
    await each.closed
    expect(server.server.state.stats.protocolErrors).toBe(1)
  })

  it("stops reading from a client that does not take its replies, and goes on when it does", async () => {
    await start({ replyBytesHigh: 100_000 })
    const each = await client()
    await each.send("SET", "big", "x".repeat(50_000))
    each.socket.pause()
    const asked = 2_000 // 100 MB of replies: no socket buffer takes them all
    each.write(encode(["GET", "big"]).repeat(asked))
    const { stats } = server.server.state
    const writer = await client()
    // Others are served meanwhile; the paused one has not run all of its commands.
    while (stats.pauses === 0) await writer.send("PING")
    const before = stats.commands
    await writer.send("PING")
    expect(stats.commands).toBe(before + 1)
    expect(before).toBeLessThan(asked)
    const [connection] = server.server.connections()
    expect(connection?.waitingBytes).toBeLessThan(100_000 + 2 * 50_100)
    each.socket.resume()
    for (let i = 0; i < asked; i++) expect(await each.reply()).toHaveLength(50_010)
    expect(await each.send("PING")).toBe("+PONG\r\n")
  })

  it("disconnects a subscriber that does not take its messages, and counts it", async () => {
    await start({ subscriberLimit: { hardBytes: 1_000_000, softBytes: 500_000, softMs: 60_000 } })
    const subscriber = await client()
    await subscriber.send("SUBSCRIBE", "news")
    subscriber.socket.pause()
    const publisher = await client()
    let receivers = ":1\r\n"
    while (receivers === ":1\r\n") receivers = await publisher.send("PUBLISH", "news", "x".repeat(100_000))
    expect(receivers).toBe(":0\r\n")
    expect(server.server.state.stats.slowSubscribers).toBe(1)
    expect(server.bus.channels()).toEqual([])
  })

  it("disconnects one whose messages of a single turn pass the limit", async () => {
    await start({ subscriberLimit: { hardBytes: 10_000, softBytes: 10_000, softMs: 60_000 } })
    const subscriber = await client()
    await subscriber.send("SUBSCRIBE", "news")
    for (let i = 0; i < 20; i++) server.bus.publish("news", "x".repeat(1_000))
    await subscriber.closed
    expect(server.server.state.stats.slowSubscribers).toBe(1)
  })

  it("delivers what is published from outside of any turn", async () => {
    await start()
    const subscriber = await client()
    await subscriber.send("PSUBSCRIBE", "n*")
    expect(server.bus.publish("news", "hello")).toBe(1)
    expect(await subscriber.reply()).toBe("*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n")
  })

  it("puts messages behind the reply of a transaction, never into it", async () => {
    await start()
    const each = await client()
    await each.send("HELLO", "3")
    await each.send("SUBSCRIBE", "a")
    expect(await each.pipeline([["MULTI"], ["PUBLISH", "a", "1"], ["GET", "x"], ["EXEC"], ["PING"]])).toEqual([
      "+OK\r\n",
      "+QUEUED\r\n",
      "+QUEUED\r\n",
      "*2\r\n:1\r\n_\r\n",
      ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n"
    ])
    expect(await each.reply()).toBe("+PONG\r\n")
  })

  it("refuses who comes when it is full, in Redis' words, and takes the next when one has gone", async () => {
    await start({ clientsMax: 1 })
    const first = await client()
    await first.send("PING")
    const second = await client()
    expect(await second.reply()).toBe("-ERR max number of clients reached\r\n")
    await second.closed
    expect(server.server.state.stats.rejectedConnections).toBe(1)
    await first.send("QUIT")
    await first.closed
    const third = await client()
    expect(await third.send("PING")).toBe("+PONG\r\n")
  })

  it("asks for the password before anything else where there is one", async () => {
    await start({ password: "secret" })
    const each = await client()
    expect(await each.send("GET", "a")).toBe("-NOAUTH Authentication required.\r\n")
    expect(await each.send("AUTH", "wrong")).toBe("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
    expect(await each.send("HELLO", "2", "AUTH", "default", "secret")).toContain("standalone")
    expect(await each.send("GET", "a")).toBe("$-1\r\n")
    expect(await each.send("RESET")).toBe("+RESET\r\n")
    expect(await each.send("GET", "a")).toBe("-NOAUTH Authentication required.\r\n")
  })

  it("loses one connection when a command crashes, and tells why", async () => {
    await start()
    const [broken, other] = [await client(), await client()]
    await other.send("SET", "a", "1")
    Object.defineProperty(server.keyspace, "get", {
      configurable: true,
      value: () => {
        throw new Error("a defect")
      }
    })
    broken.write(encode(["GET", "a"]))
    await broken.closed
    Reflect.deleteProperty(server.keyspace, "get")
    expect(server.defects).toEqual([new Error("a defect")])
    expect(await other.send("GET", "a")).toBe("$1\r\n1\r\n")
    expect(server.server.state.stats.crashes).toBe(1)
    expect(server.server.connections().size).toBe(1)
  })

  it("lets replies reach their clients when it closes", async () => {
    await start()
    const each = await client()
    await each.send("SET", "big", "x".repeat(5_000_000))
    each.socket.pause()
    each.write(encode(["GET", "big"]))
    while (server.server.state.stats.commands < 2) await new Promise((resolve) => setImmediate(resolve))
    const closed = server.stop()
    each.socket.resume()
    expect(await each.reply()).toHaveLength(5_000_012)
    await closed
    expect(server.server.connections().size).toBe(0)
  })

  it("cuts those that take nothing when its patience ends", async () => {
    await start({ closeTimeoutMs: 1 })
    const each = await client()
    await each.send("SET", "big", "x".repeat(20_000_000))
    each.socket.pause()
    each.write(encode(["GET", "big"]))
    while (server.server.state.stats.commands < 2) await new Promise((resolve) => setImmediate(resolve))
    await server.stop()
    expect(server.server.connections().size).toBe(0)
  })

  it("disconnects who has been idle for too long, but no subscriber", async () => {
    await start({ idleTimeoutMs: 300 })
    const [idle, subscriber] = [await client(), await client()]
    await subscriber.send("SUBSCRIBE", "a")
    await idle.closed
    expect(server.server.state.stats.idleDisconnections).toBe(1)
    expect(await subscriber.send("PING")).toBe("*2\r\n$4\r\npong\r\n$0\r\n\r\n")
  })

  it("cuts a browser that was made to talk to it", async () => {
    await start()
    const each = await client()
    each.write("POST / HTTP/1.1\r\nSET a 1\r\n")
    await each.closed
    expect(server.keyspace.size).toBe(0)
  })

  it("runs nothing of a connection whose command is not answered yet, while others go on", async () => {
    let finish = () => {}
    const triggers = {
      remove: () => new Promise<boolean>((resolve) => (finish = () => resolve(true)))
    } as unknown as RespServerOptions["triggers"]
    await start({ triggers })
    const [waiting, other] = [await client(), await client()]
    waiting.write(encode(["TRIGGER", "DEL", "t"]) + encode(["SET", "a", "after"]))
    while (server.server.state.stats.commands < 1) await other.send("PING")
    waiting.write(encode(["GET", "a"]))
    await other.send("PING")
    expect(await other.send("GET", "a")).toBe("$-1\r\n")
    finish()
    expect([await waiting.reply(), await waiting.reply(), await waiting.reply()]).toEqual([
      ":1\r\n",
      "+OK\r\n",
      "$5\r\nafter\r\n"
    ])
  })

  /** Everything that comes back to a client that sends `bytes` and then says that it has no more. */
  const answersToHalfClosed = async (bytes: string): Promise<() => Promise<string>> => {
    const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true })
    let received = ""
    socket.on("data", (portion: Buffer) => {
      received += portion.toString("latin1")
    })
    socket.end(bytes, "latin1")
    const closed = once(socket, "end").then(() => socket.end())
    return () => closed.then(() => received)
  }

  it("answers all that was sent before the client half closed, then closes", async () => {
    await start()
    const answers = await answersToHalfClosed("SET a 1\r\nGET a\r\nGET")
    expect(await answers()).toBe("+OK\r\n$1\r\n1\r\n")
  })

  it("answers a half-closed client also what waits behind a command that takes its time", async () => {
    let finish: (() => void) | undefined
    const triggers = {
      remove: () => new Promise<boolean>((resolve) => (finish = () => resolve(true)))
    } as unknown as RespServerOptions["triggers"]
    await start({ triggers })
    const commands = [
      ["TRIGGER", "DEL", "t"],
      ["SET", "a", "1"],
      ["GET", "a"]
    ]
    const answers = await answersToHalfClosed(commands.map(encode).join(""))
    const other = await client()
    while (finish === undefined) await other.send("PING")
    for (let i = 0; i < 5; i++) await other.send("PING") // by now the end of its input has come
    expect(server.server.connections().size).toBe(2)
    finish()
    expect(await answers()).toBe(":1\r\n+OK\r\n$1\r\n1\r\n")
  })

  it("answers a half-closed client also what is more than its socket takes at once", async () => {
    await start({ replyBytesHigh: 10_000 })
    server.keyspace.set("big", "x".repeat(100_000))
    const answers = await answersToHalfClosed(encode(["GET", "big"]).repeat(200))
    expect(await answers()).toBe(`$100000\r\n${"x".repeat(100_000)}\r\n`.repeat(200))
    expect(server.server.state.stats.pauses).toBeGreaterThan(0)
  })

  it("lets a subscriber go that half closes", async () => {
    await start()
    const answers = await answersToHalfClosed(encode(["SUBSCRIBE", "a"]))
    expect(await answers()).toContain("subscribe")
    while (server.server.connections().size > 0) await new Promise((resolve) => setImmediate(resolve))
    expect(server.bus.channels()).toEqual([])
  })

  it("refuses a value that is larger than the whole cache, naming the limit, and keeps what was there", async () => {
    await start({}, { maxBytes: 10_000 })
    const each = await client()
    await each.send("SET", "a", "1")
    const refused = `-OOM an entry of at least ${entryBytes + 20_001} bytes is larger than the 10000 bytes that this cache may hold in all\r\n`
    expect(await each.send("SET", "a", "x".repeat(20_000))).toBe(refused)
    expect(await each.send("MSET", "b", "1", "a", "x".repeat(20_000))).toBe(refused)
    expect(await each.send("MGET", "a", "b")).toBe("*2\r\n$1\r\n1\r\n$-1\r\n")
  })

  it("silences what CLIENT REPLY says", async () => {
    await start()
    const each = await client()
    each.write(
      [
        ["CLIENT", "REPLY", "SKIP"],
        ["SET", "a", "1"],
        ["GET", "a"],
        ["CLIENT", "REPLY", "OFF"],
        ["GET", "a"],
        ["CLIENT", "REPLY", "ON"]
      ]
        .map(encode)
        .join("")
    )
    expect([await each.reply(), await each.reply()]).toEqual(["$1\r\n1\r\n", "+OK\r\n"])
  })
})
