/** How long one client may hold the thread: as long as a turn, whatever it sends. Time is counted by what is done. */
import { afterEach, describe, expect, it } from "vitest"
import { TurnClock } from "../../src/cache/TurnClock.ts"
import { Cause, causeBit, parsePattern, type Watcher } from "../../src/kernel/index.ts"
import type { TriggerPort } from "../../src/server/commands/TriggerPort.ts"
import type { RespConnection } from "../../src/server/RespConnection.ts"
import type { RespServerOptions } from "../../src/server/RespServer.ts"
import { Turns, workPerLook } from "../../src/server/Turns.ts"
import { encode, RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

const turnMs = 2

describe("a turn", () => {
  let server: TestServer
  const clients: RawClient[] = []
  /** Keys in the order in which reactions to them ran. */
  let reacted: string[]

  /** A server on which each reaction to a key takes 1 ms, and nothing else takes any time. */
  const startWithReactions = async (cause: Cause, options: Partial<RespServerOptions> = {}) => {
    let nowMs = 0
    reacted = []
    const sink = {
      onEvent: ({ key }: { key: string }) => {
        nowMs += 1
        reacted.push(key)
      },
      onSettled() {}
    }
    server = await startServer({ turnMs, monotonicMs: () => nowMs, ...options }, { sink })
    server.keyspace.trie.add({ pattern: parsePattern("*"), mask: causeBit(cause), priority: 0 } as Watcher)
  }
  /** A server on which a millisecond passes between two looks at the clock. */
  const startWithLooks = async (options: Partial<RespServerOptions> = {}) => {
    let nowMs = 0
    server = await startServer({ turnMs, monotonicMs: () => nowMs++, ...options })
  }
  const client = async () => {
    const connected = await RawClient.connect(server.port)
    clients.push(connected)
    return connected
  }
  const sets = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => ["SET", `${prefix}${i}`, "1"])
  const nextRound = () => new Promise((resolve) => setImmediate(resolve))

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((each) => each.close()))
    await server.stop()
  })

  it("ends between two commands of a pipeline, and others are answered before the next", async () => {
    await startWithReactions(Cause.write)
    const [busy, other] = [await client(), await client()]
    const answered = busy.pipeline(sets("a", 1_000))
    while (reacted.length === 0) await nextRound()
    expect(reacted.length).toBeLessThan(100)
    expect(await other.send("PING")).toBe("+PONG\r\n")
    expect(reacted.length).toBeLessThan(1_000)
    expect(await answered).toEqual(Array.from({ length: 1_000 }, () => "+OK\r\n"))
    expect(reacted).toEqual(sets("a", 1_000).map(([, key]) => key))
    expect(server.server.state.turns.yields).toBe(1_000 / turnMs - 1)
  })

  it("comes again for everyone in the line before anyone has two", async () => {
    await startWithReactions(Cause.write)
    const busy = [await client(), await client(), await client()]
    await Promise.all(busy.map((each, i) => each.pipeline(sets("abc"[i] as string, 300))))
    const owners = reacted.map((key) => key[0] as string).join("")
    const together = owners.slice(
      owners.indexOf("c"),
      1 + Math.min(...["a", "b", "c"].map((o) => owners.lastIndexOf(o)))
    )
    expect(together.length).toBeGreaterThan(300)
    expect(together).not.toMatch(/aaaaa|bbbbb|ccccc/)
  })

  it("is one for all whose bytes come in the same round, in as many portions as they like", async () => {
    const connections: RespConnection[] = []
    await startWithReactions(Cause.write, { onConnection: (connection) => connections.push(connection) })
    const busy = [await client(), await client(), await client(), await client(), await client()]
    const all = sets("k", 10)
    for (const [i, command] of all.entries()) {
      connections[i % busy.length]?.socket.emit("data", Buffer.from(encode(command)))
    }
    expect(reacted).toEqual(["k0", "k1"])
    while (reacted.length < all.length) await nextRound()
    expect([...reacted].sort()).toEqual(all.map(([, key]) => key))
    expect(server.server.state.turns.yields).toBeGreaterThanOrEqual(4)
  })

  it("ends behind each command to the trigger engine that takes so long", async () => {
    let nowMs = 0
    const log = () => {
      nowMs += 60
      return []
    }
    server = await startServer({ turnMs, monotonicMs: () => nowMs, triggers: { log } as unknown as TriggerPort })
    const busy = await client()
    await busy.pipeline(Array.from({ length: 10 }, () => ["TRIGGER", "LOG"]))
    expect(server.server.state.turns.yields).toBe(9)
  })

  it("is not divided for a transaction, and ends behind a long one", async () => {
    await startWithReactions(Cause.write)
    const [busy, other] = [await client(), await client()]
    const transaction = busy.pipeline([["MULTI"], ...sets("a", 50), ["EXEC"]])
    await Promise.all([transaction, other.pipeline(sets("b", 50))])
    expect(reacted.map((key) => key[0]).join("")).toContain("a".repeat(50))
    const { turns } = server.server.state
    const before = turns.yields
    await busy.pipeline([["MULTI"], ...sets("a", 9), ["EXEC"], ["PING"]])
    expect(turns.yields).toBe(before + 1)
  })

  it("ends between two keys of DEL and of MGET, and is not divided for MSET", async () => {
    await startWithReactions(Cause.delete)
    const [busy, other] = [await client(), await client()]
    const keys = Array.from({ length: 500 }, (_, i) => `k${i}`)
    expect(await busy.send("MSET", ...keys.flatMap((key) => [key, key]))).toBe("+OK\r\n")
    expect(server.server.state.turns.yields).toBe(0)
    const removed = busy.send("DEL", ...keys)
    while (reacted.length === 0) await nextRound()
    expect(await other.send("PING")).toBe("+PONG\r\n")
    expect(reacted.length).toBeLessThan(500)
    expect(await removed).toBe(":500\r\n")
    expect(reacted).toEqual(keys)
    expect(server.keyspace.size).toBe(0)
  })

  it("ends within KEYS, MGET and EXISTS, which answer all the same", async () => {
    await startWithLooks()
    const each = await client()
    const keys = Array.from({ length: 1_000 }, (_, i) => `k${i}`)
    await each.send("MSET", ...keys.flatMap((key) => [key, "v"]))
    const { turns } = server.server.state
    for (const [command, shown] of [
      [["KEYS", "k*"], 1_000],
      [["MGET", ...keys], 1_000]
    ] as const) {
      const before = turns.yields
      expect((await each.send(...command)).startsWith(`*${shown}\r\n`)).toBe(true)
      expect(turns.yields).toBeGreaterThan(before + 2)
    }
    expect(await each.pipeline([["EXISTS", ...keys], ["PING"]])).toEqual([":1000\r\n", "+PONG\r\n"])
  })

  it("counts what a command does beside its own arguments: receivers and slots", async () => {
    await startWithLooks()
    const [busy, subscriber] = [await client(), await client()]
    for (let i = 0; i < 40; i++) await subscriber.send("PSUBSCRIBE", `${"*".repeat(i)}news*`)
    await busy.pipeline(sets("k", 100))
    const { turns } = server.server.state
    const yieldsOf = async (commands: string[][]) => {
      const before = turns.yields
      await busy.pipeline(commands)
      return turns.yields - before
    }
    const times = <A>(count: number, command: A): A[] => Array.from({ length: count }, () => command)
    expect(await yieldsOf(times(40, ["ECHO", "nothing"]))).toBe(0)
    expect(await yieldsOf(times(40, ["PUBLISH", "news", "x"]))).toBeGreaterThan(10)
    expect(await yieldsOf(times(40, ["SCAN", "0", "COUNT", "100"]))).toBeGreaterThan(10)
  })

  it("ends within the expiries that FLUSHALL begins with", async () => {
    const clock = { nowMs: () => wallMs }
    let wallMs = 1_000
    await startWithReactions(Cause.expire, { clock: new TurnClock(clock) })
    const [busy, other] = [await client(), await client()]
    for (let i = 0; i < 500; i++) server.keyspace.set(`k${i}`, "v", 2_000)
    server.keyspace.set("fresh", "v")
    wallMs = 3_000
    const flushed = busy.pipeline([["FLUSHALL", "ASYNC"], ["DBSIZE"]])
    while (reacted.length === 0) await nextRound()
    expect(await other.send("PING")).toBe("+PONG\r\n")
    expect(reacted.length).toBeLessThan(500)
    expect(await flushed).toEqual(["+OK\r\n", ":0\r\n"])
    expect([reacted.length, server.keyspace.stats.expires, server.keyspace.stats.flushes]).toEqual([500, 500, 1])
  })

  it("lets go of a client that is killed in the middle of a long command", async () => {
    await startWithReactions(Cause.delete)
    const [busy, other] = [await client(), await client()]
    const id = (await busy.send("CLIENT", "ID")).slice(1, -2)
    const keys = Array.from({ length: 2_000 }, (_, i) => `k${i}`)
    await busy.send("MSET", ...keys.flatMap((key) => [key, key]))
    busy.write(encode(["DEL", ...keys]))
    while (reacted.length === 0) await nextRound()
    expect(await other.send("CLIENT", "KILL", "ID", id)).toBe(":1\r\n")
    const deleted = reacted.length
    for (let i = 0; i < 5; i++) await nextRound()
    expect(reacted.length).toBe(deleted)
    expect(deleted).toBeLessThan(2_000)
    expect(server.defects).toEqual([])
  })

  it("costs the connection alone when a long command crashes in a later turn", async () => {
    await startWithLooks()
    const [busy, other] = [await client(), await client()]
    const keys = Array.from({ length: 1_000 }, (_, i) => `k${i}`)
    await busy.send("MSET", ...keys.flatMap((key) => [key, key]))
    const peek = server.keyspace.peek.bind(server.keyspace)
    Object.defineProperty(server.keyspace, "peek", {
      value: (key: string) => {
        if (key === "k900") throw new Error("a defect")
        return peek(key)
      }
    })
    busy.write(encode(["EXISTS", ...keys]))
    await busy.closed
    expect(server.defects).toEqual([new Error("a defect")])
    expect(await other.send("PING")).toBe("+PONG\r\n")
  })
})

describe("Turns", () => {
  it("gives one turn a round to the line, shared by as many as fit", async () => {
    let nowMs = 0
    const turns = new Turns(10, () => nowMs)
    const rounds: string[] = []
    const taker = (name: string, costMs: number, times: number) => {
      const self = {
        takeTurn: () => {
          rounds.push(name)
          nowMs += costMs
          if (--times > 0) turns.later(self)
        }
      }
      return self
    }
    turns.later(taker("long", 10, 3))
    turns.later(taker("a", 1, 2))
    turns.later(taker("b", 1, 2))
    for (let round = 0; round < 6; round++) {
      await new Promise((resolve) => setImmediate(resolve))
      rounds.push("|")
    }
    expect(rounds.join(" ")).toBe("long | a b long | a b long | | | |")
  })

  it("is one for all who arrive in a round, and another for the line", async () => {
    let nowMs = 0
    const turns = new Turns(10, () => nowMs)
    const seen: boolean[] = []
    const taker = { takeTurn: () => void seen.push(turns.begin()) }
    expect([turns.begin(), turns.begin()]).toEqual([true, true])
    nowMs = 10
    expect(turns.spend(workPerLook)).toBe(true)
    expect([turns.begin(), turns.begin()]).toEqual([false, false])
    turns.later(taker)
    await new Promise((resolve) => setImmediate(resolve))
    expect(seen).toEqual([true])
    expect(turns.begin()).toBe(true)
  })

  it("looks at the clock once in so much work", () => {
    let looks = 0
    const turns = new Turns(5, () => looks++)
    turns.begin()
    for (let i = 0; i < 640; i++) turns.spend(1)
    expect(looks).toBe(1 + 10)
    expect(turns.spend(64)).toBe(true)
  })
})
