/** Commands whose keys have to come from elsewhere first: who waits, who does not, and what they answer. */
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { FillScope, Loans } from "../../src/cache/index.ts"
import { EntrySource, type Keyspace, noMeta } from "../../src/kernel/index.ts"
import type { FillPort } from "../../src/server/commands/FillPort.ts"
import { RawClient } from "./RawClient.ts"
import { startServer, type TestServer } from "./TestServer.ts"

/** Keys that are elsewhere, each brought when it is let go. */
class Elsewhere implements FillPort {
  isActive = true
  readonly asked: Array<readonly [key: string, scope: FillScope]> = []
  readonly values = new Map<string, string>()
  readonly broken = new Set<string>()
  private readonly held: Array<() => void> = []
  isHolding = false

  isWanted(keyspace: Keyspace, key: string): boolean {
    return keyspace.peek(key) === undefined
  }

  async borrow(_loans: Loans, keyspace: Keyspace, key: string, scope: FillScope): Promise<string | undefined> {
    this.asked.push([key, scope])
    if (this.isHolding) await new Promise<void>((resolve) => this.held.push(resolve))
    if (this.broken.has(key)) throw new Error(`the load of '${key}' failed`)
    const value = this.values.get(key)
    if (value !== undefined) keyspace.fill(keyspace.lease(key), value, 0, noMeta, EntrySource.copied)
    return value
  }

  letGo(): void {
    for (const go of this.held.splice(0)) go()
  }
}

let elsewhere: Elsewhere
let server: TestServer
let client: RawClient

beforeEach(async () => {
  elsewhere = new Elsewhere()
  server = await startServer({ fills: elsewhere })
  client = await RawClient.connect(server.port)
})
afterEach(async () => {
  elsewhere.letGo()
  await client.close()
  await server.stop()
  expect(server.defects).toEqual([])
})

describe("a command whose keys are elsewhere", () => {
  it("answers with what was brought, and asks once", async () => {
    elsewhere.values.set("k", "v")
    expect(await client.send("GET", "k")).toBe("$1\r\nv\r\n")
    expect(await client.send("GET", "k")).toBe("$1\r\nv\r\n")
    expect(elsewhere.asked).toEqual([["k", "all"]])
  })

  it("answers nothing where it is nowhere", async () => {
    expect(await client.send("GET", "k")).toBe("$-1\r\n")
  })

  it("answers the error that kept a value from coming", async () => {
    elsewhere.broken.add("k")
    expect(await client.send("MGET", "k", "other")).toBe("-ERR load: the load of 'k' failed\r\n")
  })

  it("lets others go on, and its own connection's later commands wait", async () => {
    elsewhere.values.set("k", "old")
    elsewhere.isHolding = true
    const replies = client.pipeline([
      ["GET", "k"],
      ["SET", "k", "new"],
      ["GET", "k"]
    ])
    const other = await RawClient.connect(server.port)
    while (elsewhere.asked.length === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(await other.send("SET", "free", "1")).toBe("+OK\r\n")
    elsewhere.letGo()
    expect(await replies).toEqual(["$3\r\nold\r\n", "+OK\r\n", "$3\r\nnew\r\n"])
    await other.close()
  })

  it("reads, changes and counts what another instance had", async () => {
    for (const key of ["n", "s", "t", "d"]) elsewhere.values.set(key, "5")
    const replies = await client.pipeline([
      ["INCR", "n"],
      ["APPEND", "s", "0"],
      ["EXISTS", "t", "nowhere"],
      ["DEL", "d", "nowhere"],
      ["SETNX", "t", "6"],
      ["SET", "new", "7", "NX"]
    ])
    expect(replies).toEqual([":6\r\n", ":2\r\n", ":1\r\n", ":1\r\n", ":0\r\n", "+OK\r\n"])
    expect(elsewhere.asked.filter(([key]) => key === "n" || key === "d" || key === "new")).toEqual([
      ["n", "all"],
      ["d", "peers"],
      ["new", "peers"]
    ])
  })

  it("asks nobody for what it overwrites", async () => {
    await client.pipeline([
      ["SET", "k", "1"],
      ["SET", "e", "1", "EX", "100"],
      ["MSET", "a", "1", "b", "2"],
      ["SETEX", "x", "10", "1"]
    ])
    expect(elsewhere.asked).toEqual([])
  })

  it("has a few hundred of many keys looked for at a time", async () => {
    elsewhere.isHolding = true
    const keys = Array.from({ length: 600 }, (_, i) => `k${i}`)
    elsewhere.values.set("k599", "last")
    const reply = client.send("MGET", ...keys)
    for (const known of [256, 512, 600]) {
      while (elsewhere.asked.length < known) await new Promise((resolve) => setImmediate(resolve))
      expect(elsewhere.asked.length).toBe(known)
      elsewhere.letGo()
    }
    expect(await reply).toMatch(/^\*600\r\n(\$-1\r\n){599}\$4\r\nlast\r\n$/)
  })

  it("looks for no more once a key could not be had", async () => {
    elsewhere.broken.add("k0")
    const keys = Array.from({ length: 600 }, (_, i) => `k${i}`)
    expect(await client.send("MGET", ...keys)).toBe("-ERR load: the load of 'k0' failed\r\n")
    expect(elsewhere.asked.length).toBe(256)
  })

  it("is run as part of its transaction, whose keys have all come before", async () => {
    elsewhere.values.set("a", "1")
    elsewhere.values.set("b", "2")
    const replies = await client.pipeline([["MULTI"], ["INCR", "a"], ["GET", "b"], ["EXEC"]])
    expect(replies).toEqual(["+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:2\r\n$1\r\n2\r\n"])
    expect(elsewhere.asked).toEqual([
      ["a", "all"],
      ["b", "all"]
    ])
  })
})

describe("INVALIDATE", () => {
  it("removes keys, tags and prefixes", async () => {
    elsewhere.isActive = false
    await client.pipeline([
      ["SET", "k", "1"],
      ["SET", "page:1", "1"],
      ["SET", "tagged", "1", "TAGS", "1", "news"]
    ])
    expect(await client.send("INVALIDATE", "KEY", "k", "nowhere")).toBe(":1\r\n")
    expect(await client.send("INVALIDATE", "TAG", "news")).toBe("+OK\r\n")
    expect(await client.send("INVALIDATE", "PREFIX", "page:")).toBe("+OK\r\n")
    expect(await client.send("EXISTS", "k", "page:1", "tagged")).toBe(":0\r\n")
  })

  it("refuses a prefix that does not end with a colon, or is longer or deeper than what is looked at of a key", async () => {
    const refused = "-ERR a prefix ends with ':', and has 1024 bytes and 64 colons at most; others match nothing\r\n"
    for (const prefix of ["page", "", ":".repeat(65), `${"x".repeat(1_024)}:`]) {
      expect(await client.send("INVALIDATE", "PREFIX", "page:", prefix)).toBe(refused)
    }
  })
})

describe("COHERENCE", () => {
  it("says what is missing where nothing is shared", async () => {
    expect(await client.send("COHERENCE", "STATUS")).toMatch(/^-ERR coherence: .*--namespace/)
  })
})
