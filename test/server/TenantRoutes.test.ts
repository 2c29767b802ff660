/** Operators reach tenants' keys by their displayed form; a command is about keys of one owner. */
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Tenant, TurnClock } from "../../src/cache/index.ts"
import { CommandTable } from "../../src/server/Command.ts"
import { families } from "../../src/server/commands/index.ts"
import { RespServer } from "../../src/server/RespServer.ts"
import { encode, type RawClient } from "./RawClient.ts"
import { startTenantServer, type TenantServer } from "./TenantServer.ts"

let server: TenantServer
let client: RawClient
let a: Tenant
let b: Tenant
beforeEach(async () => {
  server = await startTenantServer()
  client = await server.connect()
  a = await server.create("a", "a:x")
  b = await server.create("b")
})
afterEach(() => server.stop())

const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`
const several = "-ERR keys of different tenants in one command; send one for each of them\r\n"
const keysOf = ({ keyspace }: Pick<Tenant, "keyspace">): string[] => {
  const keys: string[] = []
  keyspace.scan(0, 1_000, ({ key }) => keys.push(key))
  return keys.sort()
}
const mainKeys = () => keysOf({ keyspace: server.main })

describe("a displayed key", () => {
  it("is looked for as long as there are tenants, those included that are older than the server", async () => {
    const { routes, tenants } = server.server.state
    expect(routes.size).toBe(2)
    const later = new RespServer({ ...server.server.state, clock: new TurnClock() })
    expect(later.state.routes.size).toBe(2)
    for (const id of ["a", "b"]) await tenants?.remove(id)
    expect([routes.size, later.state.routes.size]).toEqual([0, 0])
    await server.create("c")
    await later.close()
    await server.create("d")
    expect([routes.size, later.state.routes.size]).toEqual([2, 1])
  })

  it("is a bare key of its tenant, and no key of the operators'", async () => {
    expect(await client.send("SET", "a:x:k", "1")).toBe("+OK\r\n")
    expect(await client.send("INCR", "b:n")).toBe(":1\r\n")
    expect(await client.send("SET", "k", "main")).toBe("+OK\r\n")
    expect([keysOf(a), keysOf(b), mainKeys()]).toEqual([["k"], ["n"], ["k"]])
    expect(
      await client.pipeline([
        ["GET", "a:x:k"],
        ["GET", "b:n"],
        ["GET", "k"],
        ["GET", "b:k"]
      ])
    ).toEqual([bulk("1"), bulk("1"), bulk("main"), "$-1\r\n"])
  })

  it.each([
    ["a:x", "the prefix alone"],
    ["a:y", "a part of it"],
    ["a", "its first word"],
    ["bb:k", "a longer word"],
    [":b:k", "another beginning"],
    ["B:k", "another case"]
  ])("'%s' is an operator's: %s", async (key) => {
    await client.send("SET", key, "v")
    expect([mainKeys(), keysOf(a), keysOf(b)]).toEqual([[key], [], []])
  })

  it.each([
    ["b:", ""],
    ["b::k", ":k"],
    ["b:a:x:k", "a:x:k"],
    ["b:\xff\x00", "\xff\x00"],
    [`b:${"k".repeat(70_000)}`, "k".repeat(70_000)]
  ])("%j of 'b' is the key %j there", async (shown, bare) => {
    await client.send("SET", shown, "v")
    expect([mainKeys(), keysOf(a), keysOf(b)]).toEqual([[], [], [bare]])
    expect(await client.send("DEL", shown)).toBe(":1\r\n")
  })

  it("is one for every command that names keys, wherever they stand", async () => {
    // The arguments behind the key that make a command valid; those that are not here need none.
    const rest: Readonly<Record<string, readonly string[]>> = {
      ...{ set: ["v"], setnx: ["v"], setex: ["9", "v"], psetex: ["9", "v"], getset: ["v"], mset: ["v"], msetnx: ["v"] },
      ...{ incrby: ["1"], decrby: ["1"], incrbyfloat: ["1"], append: ["v"], getrange: ["0", "1"], substr: ["0", "1"] },
      ...{ setrange: ["0", "v"], expire: ["9"], pexpire: ["9"], expireat: ["9"], pexpireat: ["9"], rename: ["b:to"] },
      renamenx: ["b:to"]
    }
    const leaves = [...new CommandTable(families).commands.values()].flatMap((command) =>
      command.subcommands.size === 0 ? [command] : [...command.subcommands.values()]
    )
    const keyed = leaves.filter(({ keys }) => keys[0] > 0)
    expect(keyed.length).toBeGreaterThan(40)
    const { version, stats } = server.main
    const before = [version, { ...stats }]
    for (const { fullName, row } of keyed) {
      b.keyspace.set("k", "1")
      const key = fullName === "invalidate|prefix" ? "b:k:" : "b:k"
      const reply = await client.send(...fullName.split("|"), key, ...(rest[row.name] ?? []))
      expect([fullName, reply.startsWith("-")]).toEqual([fullName, false])
      const { keyspace } = b
      keyspace.delete("to")
    }
    expect([server.main.version, server.main.stats]).toEqual(before)
    expect(mainKeys()).toEqual([])
  })

  it("is an operator's as soon as its tenant is gone", async () => {
    await client.send("SET", "b:k", "tenant's")
    expect(await client.send("TENANT", "DEL", "b")).toBe(":1\r\n")
    expect(await client.send("GET", "b:k")).toBe("$-1\r\n")
    await client.send("SET", "b:k", "mine")
    expect(mainKeys()).toEqual(["b:k"])
  })
})

describe("keys of several owners", () => {
  it.each([
    [["MGET", "b:k", "a:x:k"]],
    [["MGET", "k", "b:k"]],
    [["DEL", "b:k", "k"]],
    [["MSET", "b:k", "1", "a:x:k", "2"]],
    [["RENAME", "b:k", "k"]],
    [["RENAME", "k", "b:k"]]
  ])("are refused in one command, and nothing is done: %j", async (args) => {
    await client.pipeline([
      ["SET", "k", "main"],
      ["SET", "b:k", "b"]
    ])
    expect(await client.send(...args)).toBe(several)
    expect(
      await client.pipeline([
        ["GET", "k"],
        ["GET", "b:k"],
        ["EXISTS", "a:x:k"]
      ])
    ).toEqual([bulk("main"), bulk("b"), ":0\r\n"])
  })

  it("are found however many there are, without holding up others for all of them", async () => {
    const many = Array.from({ length: 20_000 }, (_, i) => `b:${i}`)
    expect(await client.send("EXISTS", ...many, "k")).toBe(several)
    expect(await client.send("MSET", ...many.slice(0, 1_000).flatMap((key) => [key, "v"]))).toBe("+OK\r\n")
    expect(b.keyspace.size).toBe(1_000)
    expect(await client.send("UNLINK", ...many)).toBe(":1000\r\n")
  })

  it("are not touched for a client that goes before all of them were looked at", async () => {
    await server.stop()
    let elapsedMs = 0
    // Every look at the clock ends a turn.
    server = await startTenantServer({ monotonicMs: () => (elapsedMs += 10) })
    client = await server.connect()
    const tenant = await server.create("b")
    const { open } = server.server as unknown as { readonly open: Set<{ cut(): void }> }
    client.write(encode(["MSET", ...Array.from({ length: 1_000 }, (_, i) => [`b:${i}`, "new"]).flat(), "k", "new"]))
    const { state } = server.server
    while (state.stats.commands === 0) await new Promise(setImmediate)
    for (const connection of open) connection.cut()
    await client.closed
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
    expect([tenant.keyspace.size, server.server.connections().size]).toEqual([0, 0])
  })

  it("may stand in one transaction, which is one operation in each keyspace", async () => {
    const begun: string[] = []
    for (const [name, keyspace] of [
      ["main", server.main],
      ["b", b.keyspace]
    ] as const) {
      const { beginOperation, endOperation } = keyspace
      keyspace.beginOperation = () => {
        begun.push(`begin ${name}`)
        beginOperation.call(keyspace)
      }
      keyspace.endOperation = () => {
        begun.push(`end ${name}`)
        endOperation.call(keyspace)
      }
    }
    await client.send("MULTI")
    for (const args of [
      ["SET", "k", "1"],
      ["SET", "b:k", "2"],
      ["INCR", "b:k"],
      ["MGET", "k", "b:k"],
      ["GET", "k"]
    ]) {
      expect(await client.send(...args)).toBe("+QUEUED\r\n")
    }
    expect(await client.send("EXEC")).toBe(`*5\r\n+OK\r\n+OK\r\n:3\r\n${several}${bulk("1")}`)
    expect(begun).toEqual(["begin main", "begin b", "end main", "end b"])
    expect([mainKeys(), keysOf(b)]).toEqual([["k"], ["k"]])
  })
})

describe("a walk over keys", () => {
  const walk = async (...options: readonly string[]) => {
    const found: string[] = []
    let cursor = "0"
    do {
      const [, , next, , ...lines] = (await client.send("SCAN", cursor, "COUNT", "3", ...options)).split("\r\n")
      found.push(...lines.filter((line) => line !== "" && !/^\$\d+$/.test(line)))
      cursor = next as string
    } while (cursor !== "0")
    return found.sort()
  }
  beforeEach(async () => {
    await client.send("MSET", "user:1", "v", "c", "v")
    await client.send("MSET", "a:x:user:1", "v", "a:x:user:2", "v", "a:x:z", "v")
    await client.send("MSET", "b:user:9", "v")
  })

  it.each([
    ["*", ["c", "user:1"]],
    ["user:*", ["user:1"]],
    ["a:x:*", ["a:x:user:1", "a:x:user:2", "a:x:z"]],
    ["a:x:user:?", ["a:x:user:1", "a:x:user:2"]],
    ["a:x:z", ["a:x:z"]],
    ["\\a\\:x:user:[2-9]", ["a:x:user:2"]],
    ["b:*", ["b:user:9"]],
    ["b:?ser:9", ["b:user:9"]],
    ["a:x*", []],
    ["[ab]:*", []],
    ["*:user:*", []],
    ["a:*", []]
  ])("by KEYS and SCAN finds for %s what its literal head names: %j", async (glob, found) => {
    const lines = (await client.send("KEYS", glob)).split("\r\n").slice(1)
    expect(lines.filter((line) => line !== "" && !line.startsWith("$")).sort()).toEqual(found)
    expect(await walk("MATCH", glob)).toEqual(found)
  })

  it("without a glob finds the operators' own, as DBSIZE and RANDOMKEY do", async () => {
    expect(await walk()).toEqual(["c", "user:1"])
    expect(await client.send("DBSIZE")).toBe(":2\r\n")
    expect(["$1\r\nc\r\n", bulk("user:1")]).toContain(await client.send("RANDOMKEY"))
  })

  it("is emptied by FLUSHDB for the operators alone, and by FLUSHALL for all", async () => {
    expect(await client.send("FLUSHDB")).toBe("+OK\r\n")
    expect([server.main.size, a.keyspace.size, b.keyspace.size]).toEqual([0, 3, 1])
    await client.send("SET", "k", "v")
    expect(await client.send("FLUSHALL")).toBe("+OK\r\n")
    expect([server.main.size, a.keyspace.size, b.keyspace.size]).toEqual([0, 0, 0])
  })
})

describe("a trigger of the operators", () => {
  const refused =
    "-ERR trigger: keys that begin with 'b:' are a tenant's; register it under TENANT USE, with a pattern of bare keys\r\n"

  it.each(["b:*", "b:k", "\\b:user:?"])("is not registered on keys of a tenant: %s", async (pattern) => {
    expect(await client.send("TRIGGER", "SET", "t", pattern, "ON_WRITE", "return 1")).toBe(refused)
    expect(await client.send("TRIGGER", "REGISTER", pattern, "ON_WRITE", "return 1")).toBe(refused)
    expect(server.triggersOf).toEqual([])
  })

  it.each(["*", "b", "b*", "[b]:*", "bb:*"])("is registered on its own: %s", async (pattern) => {
    await client.send("TRIGGER", "SET", "t", pattern, "ON_WRITE", "return 1")
    expect(server.triggersOf).toEqual([null])
  })
})

it("without tenants no key is looked at twice", async () => {
  await client.pipeline([
    ["TENANT", "DEL", "a"],
    ["TENANT", "DEL", "b"]
  ])
  let asked = 0
  const { routes } = server.server.state
  Object.assign(routes, { route: () => void asked++ })
  await client.send("MSET", "b:k", "1", "a:x:k", "2")
  expect([asked, mainKeys()]).toEqual([0, ["a:x:k", "b:k"]])
})
