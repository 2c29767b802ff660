/** TENANT over the wire: making, showing, changing and removing tenants; acting and logging in as one. */
import { Effect, Logger } from "effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { Supervisor } from "../../../src/actor/index.ts"
import type { TenantsService } from "../../../src/cache/index.ts"
import * as TenantCommands from "../../../src/server/TenantCommands.ts"
import type { RawClient } from "../RawClient.ts"
import { startTenantServer, type TenantServer } from "../TenantServer.ts"

let server: TenantServer
let client: RawClient
const start = async (...options: Parameters<typeof startTenantServer>) => {
  await server?.stop()
  server = await startTenantServer(...options)
  client = await server.connect()
}
beforeEach(() => start())
afterEach(async () => {
  await server.stop()
  server = undefined as never
})

const ok = "+OK\r\n"
const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`

/** The fields of a flat array of names and values. */
const fields = (reply: string): Record<string, string> => {
  const words = reply.split("\r\n").filter((line) => line !== "" && !/^[$*]\d/.test(line))
  return Object.fromEntries(words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1] ?? ""]] : [])))
}

describe("TENANT", () => {
  it("CREATE makes a tenant with a prefix and limits, which LIST, INFO and LIMITS show", async () => {
    expect(await client.send("TENANT", "CREATE", "one")).toBe(ok)
    const limits = ["LIMIT", "max_entries", "5", "computeMs", "20", "LIMIT", "RUNS-MAX", "3"]
    expect(await client.send("TENANT", "CREATE", "two", "PREFIX", "tenant_2", ...limits)).toBe(ok)
    await client.send("SET", "tenant_2:k", "v")
    const list = await client.send("TENANT", "LIST")
    expect(list).toMatch(/^\*2\r\n\*8\r\n/)
    const info = fields((await client.send("TENANT", "INFO", "two")).replace("$3\r\nenv\r\n*0\r\n", ""))
    const shown = { id: "two", prefix: "tenant_2", entries: ":1", max_entries: ":5", compute_ms: ":20", runs_max: ":3" }
    expect(info).toMatchObject({ ...shown, token: ":0", wait_ms: ":1000", writes: ":1" })
    const changed = await client.send("TENANT", "LIMITS", "two", "maxEntries", "7")
    expect(fields(changed)).toMatchObject({ max_entries: ":7", compute_ms: ":20" })
    expect(await client.send("TENANT", "LIMITS", "two")).toBe(changed)
    expect(server.tenants.get("two")?.limits.maxEntries).toBe(7)
    const sizes = fields(await client.send("TENANT", "LIMITS", "two", "max_bytes", "2mb", "memoryBytes", "1000k"))
    expect(sizes).toMatchObject({ max_bytes: `:${2 * 1024 * 1024}`, memory_bytes: ":1000000" })
  })

  it.each([
    [["CREATE", "one"], "-ERR there is a tenant 'one' already"],
    [["CREATE", "no spaces"], "-ERR id 'no spaces': an id is 1 to 64"],
    [["CREATE", "x", "PREFIX", "one"], "-ERR the prefix 'one' cannot be told apart"],
    [["CREATE", "x", "PREFIX"], "-ERR syntax error"],
    [["CREATE", "x", "LIMIT"], "-ERR tenant: a limit is a name and a number"],
    [["CREATE", "x", "LIMIT", "max_entries"], "-ERR tenant: a limit is a name and a number"],
    [["CREATE", "x", "LIMIT", "max_entires", "1"], "-ERR tenant: 'max_entires' is no limit; there are max_entries,"],
    [
      ["CREATE", "x", "LIMIT", "max_entries", "few"],
      "-ERR tenant: max_entries is a whole number from 1 to 100000000, not 'few'"
    ],
    [["LIMITS", "one", "compute_ms", "0"], "-ERR tenant: compute_ms is a whole number from 1 to 60000, not '0'"],
    [
      ["LIMITS", "one", "memoryBytes", "1tb"],
      "-ERR tenant: memory_bytes is a number of bytes such as 1000000 or 4mb, from 256kb to 9mb, not '1tb'"
    ],
    [
      ["LIMITS", "one", "max_bytes", "1.5mb"],
      "-ERR tenant: max_bytes is a number of bytes such as 1000000 or 4mb, from 1 to 1024gb, not '1.5mb'"
    ],
    [["TOKEN", "one", "NEW"], "-ERR syntax error"],
    [["TOKEN", "one", "DEL", "now"], "-ERR syntax error"],
    [["LIMITS", "nobody"], "-NOTENANT no tenant has the id 'nobody'"],
    [["INFO", "nobody"], "-NOTENANT no tenant has the id 'nobody'"],
    [["TOKEN", "nobody"], "-NOTENANT no tenant has the id 'nobody'"],
    [["USE", "nobody"], "-NOTENANT no tenant has the id 'nobody'"],
    [["ENV", "LIST", "nobody"], "-NOTENANT no tenant has the id 'nobody'"],
    [["ENV", "SET", "one", "name"], "-ERR wrong number of arguments for 'tenant|env|set' command"],
    [["ENV", "SET", "one", "cache", "1"], "-ERR env 'cache': cannot be named so: scripts have something of that name"],
    [["ENV", "SET", "one", "a b", "1"], "-ERR env 'a b': is no name: up to 64 letters, digits or '_'"],
    [["ENV", "GET", "one"], "-ERR unknown subcommand 'GET'"],
    [
      ["ENV", "SET", "one", "name", "text"],
      "-ERR the value: the JSON is wrong at character 0: a value was expected here; a text is written '\"text\"'\r\n"
    ],
    [["ENV", "SET", "one", "name", '"\xff"'], "-ERR the value is not UTF-8"]
  ])("%j is refused, with what would be right", async (args, error) => {
    await client.send("TENANT", "CREATE", "one")
    expect(await client.send("TENANT", ...args)).toContain(error)
    expect(server.tenants.list().map(({ id }) => id)).toEqual(["one"])
  })

  it("ENV keeps values by name, and shows the names alone", async () => {
    await client.send("TENANT", "CREATE", "one")
    expect(await client.send("TENANT", "ENV", "SET", "one", "api_token", '"s3cret"')).toBe(ok)
    expect(await client.send("TENANT", "ENV", "SET", "one", "rate", '{"max":1.0}')).toBe(ok)
    expect(server.tenants.get("one")?.env.get("api_token")).toBe("s3cret")
    expect(await client.send("TENANT", "ENV", "LIST", "one")).toBe("*2\r\n$9\r\napi_token\r\n$4\r\nrate\r\n")
    expect(await client.send("TENANT", "INFO", "one")).not.toContain("s3cret")
    expect(await client.send("TENANT", "ENV", "DEL", "one", "rate")).toBe(":1\r\n")
    expect(await client.send("TENANT", "ENV", "DEL", "one", "rate")).toBe(":0\r\n")
  })

  it("DEL removes it, and closes the connections that act as it", async () => {
    await server.create("one")
    const [own, acting, other] = [await server.as("one"), await server.connect(), await server.connect()]
    await acting.send("TENANT", "USE", "one")
    expect(await client.send("TENANT", "DEL", "one")).toBe(":1\r\n")
    await Promise.all([own.closed, acting.closed])
    expect(await other.send("PING")).toBe("+PONG\r\n")
    expect(await client.send("TENANT", "DEL", "one")).toBe(":0\r\n")
  })

  it("says so where the server keeps none", async () => {
    await start({ tenants: undefined })
    for (const args of [["LIST"], ["USE", "one"], ["CREATE", "one"], ["INFO", "one"]]) {
      expect(await client.send("TENANT", ...args)).toBe("-ERR tenant: this server keeps no tenants\r\n")
    }
  })
})

describe("TENANT USE", () => {
  beforeEach(() => server.create("one"))

  it("has the connection act as the tenant: its keys are bare, and its own", async () => {
    await client.send("MSET", "k", "main", "other", "main")
    expect(await client.send("TENANT", "USE", "one")).toBe(ok)
    expect(await client.pipeline([["GET", "k"], ["SET", "k", "one"], ["DBSIZE"], ["KEYS", "*"]])).toEqual([
      "$-1\r\n",
      ok,
      ":1\r\n",
      "*1\r\n$1\r\nk\r\n"
    ])
    // There a displayed key is a key like any other.
    await client.send("SET", "one:k", "v")
    expect(server.tenants.get("one")?.keyspace.peek("one:k")?.value).toBe("v")
    expect(await client.send("FLUSHALL")).toBe(ok)
    expect(await client.send("TENANT", "USE")).toBe(ok)
    expect(
      await client.pipeline([
        ["GET", "k"],
        ["GET", "one:k"]
      ])
    ).toEqual([bulk("main"), "$-1\r\n"])
  })

  it("is ended by RESET, with or without TENANT USE before it", async () => {
    for (const leave of [["RESET"], ["TENANT", "USE", "RESET"]]) {
      await client.pipeline([["TENANT", "USE", "one"], leave])
      expect(await client.send("CONFIG", "GET", "databases")).toBe("*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n")
    }
  })

  it("asks the tenant's triggers and logs", async () => {
    await client.send("TENANT", "USE", "one")
    await client.pipeline([["TRIGGER", "LIST"], ["TRIGGER", "LOG"], ["LOGS"]])
    await client.send("TRIGGER", "SET", "t", "one:*", "ON_WRITE", "return 1")
    expect(server.triggersOf).toEqual(["one", "one", "one", "one"])
  })

  it("is not begun in the middle of subscriptions or a transaction", async () => {
    await client.send("HELLO", "3")
    await client.send("SUBSCRIBE", "c")
    const refused = "-ERR end the subscriptions and the transaction of this connection before it acts as a tenant\r\n"
    expect(await client.send("TENANT", "USE", "one")).toBe(refused)
    await client.send("UNSUBSCRIBE", "c")
    await client.send("MULTI")
    expect(await client.send("TENANT", "USE", "one")).toBe("-ERR Command not allowed inside a transaction\r\n")
    expect(await client.send("EXEC")).toMatch(/^-EXECABORT/)
    await client.send("MULTI")
    await client.send("AUTH", "one", await server.token("one"))
    expect(await client.send("EXEC")).toBe(`*1\r\n${refused}`)
    expect(await client.send("TENANT", "USE", "one")).toBe(ok)
  })

  it("names the tenant in CLIENT LIST, which shows nobody else there", async () => {
    const other = await server.connect()
    await other.send("CLIENT", "SETNAME", "other")
    await client.send("TENANT", "USE", "one")
    expect(await client.send("CLIENT", "LIST")).not.toContain("name=other")
    expect(await other.send("CLIENT", "LIST")).toContain("user=default resp=2 tenant=one")
    const id = (await other.send("CLIENT", "ID")).slice(1, -2)
    expect(await client.send("CLIENT", "KILL", "ID", id)).toBe(":0\r\n")
    expect(await other.send("PING")).toBe("+PONG\r\n")
  })
})

describe("a tenant logs in", () => {
  it("with its id and token, and is nobody else from then on", async () => {
    await start({ password: "secret" })
    await server.create("one")
    const token = await server.token("one")
    expect(await client.send("GET", "k")).toBe("-NOAUTH Authentication required.\r\n")
    expect(await client.send("AUTH", "one", token)).toBe(ok)
    expect(await client.send("SET", "k", "v")).toBe(ok)
    expect([server.main.size, server.tenants.get("one")?.keyspace.size]).toEqual([0, 1])
    const bound = "-NOPERM this connection is logged in as its tenant for good; open another one\r\n"
    expect(await client.send("AUTH", "secret")).toBe(bound)
    expect(await client.send("AUTH", "default", "secret")).toBe(bound)
    await server.create("two")
    expect(await client.send("AUTH", "two", await server.token("two"))).toBe(bound)
    expect(await client.send("RESET")).toBe("+RESET\r\n")
    expect(await client.send("GET", "k")).toBe(bulk("v"))
    expect(await client.send("TENANT", "USE")).toBe("-NOPERM 'tenant|use' is for operators, not for tenants\r\n")
    expect(await client.send("AUTH", "one", token)).toBe(ok)
  })

  it("also by HELLO, over RESP3", async () => {
    await server.create("one")
    expect(await client.send("HELLO", "3", "AUTH", "one", await server.token("one"))).toMatch(/^%7\r\n/)
    expect(await client.send("CLIENT", "INFO")).toContain("user=one resp=3 tenant=one")
  })

  it("and is kept out with another's token, one that is void, or none", async () => {
    await start({ password: "secret" })
    await server.create("one")
    await server.create("two")
    const old = await server.token("one")
    const [one, two] = [await server.token("one"), await server.token("two")]
    for (const [user, said] of [
      ["one", two],
      ["one", old],
      ["one", "secret"],
      ["default", one],
      ["nobody", one],
      ["one", ""]
    ] as const) {
      expect([user, await client.send("AUTH", user, said)]).toEqual([
        user,
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
      ])
    }
    expect(await client.send("GET", "k")).toBe("-NOAUTH Authentication required.\r\n")
    expect(await client.send("AUTH", "two", two)).toBe(ok)
  })

  it("until its token is void: with a new one, or none, the connections of the old one are closed", async () => {
    await server.create("one")
    await server.create("two")
    const [first, other] = [await server.as("one"), await server.as("two")]
    const acting = await server.connect()
    await acting.send("TENANT", "USE", "one")
    await client.send("TENANT", "LIMITS", "one", "max_entries", "9") // no change of the token
    expect(await first.send("PING")).toBe("+PONG\r\n")
    const token = (await client.send("TENANT", "TOKEN", "one")).split("\r\n")[1] as string
    await first.closed
    const second = await server.connect()
    expect(await second.send("AUTH", "one", token)).toBe(ok)
    expect(await client.send("TENANT", "TOKEN", "one", "DEL")).toBe(":1\r\n")
    await second.closed
    const third = await server.connect()
    expect(await third.send("AUTH", "one", token)).toMatch(/^-WRONGPASS/)
    expect(await client.send("TENANT", "TOKEN", "one", "DEL")).toBe(":0\r\n")
    expect(server.tenants.get("one")?.tokenHash).toBe(null)
    for (const each of [acting, other]) expect(await each.send("PING")).toBe("+PONG\r\n")
    expect(server.server.state.stats.tokenDisconnections).toBe(2)
    expect(await client.send("INFO", "stats")).toContain("token_disconnections:2\r\n")
  })

  it("by a token that the log warns about, once, where no password keeps others out", async () => {
    const warned: Array<readonly [string, string]> = []
    const log = Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ logLevel, message }) => void warned.push([logLevel.label, String(message)]))
    )
    for (const isOpen of [true, false]) {
      const issuing = { issueToken: () => Effect.succeed("mt_one_x") } as unknown as TenantsService
      const { port, childSpec } = TenantCommands.make(issuing, { isOpen })
      const using = Effect.gen(function* () {
        yield* Supervisor.start({ label: "commands", children: [childSpec] })
        for (let i = 0; i < 2; i++) expect(yield* Effect.promise(() => port.issueToken("one"))).toBe("mt_one_x")
      })
      await Effect.runPromise(Effect.provide(Effect.scoped(using), log))
    }
    const text = expect.stringContaining("whoever sends no token is an operator")
    expect(warned.filter(([level]) => level === "WARN")).toEqual([["WARN", text]])
  })

  it("only as often as one tenant may", async () => {
    await start({ tenantClientsMax: 2 })
    await server.create("one")
    const token = await server.token("one")
    const clients = [client, await server.connect(), await server.connect()] as const
    for (const each of clients.slice(0, 2)) expect(await each.send("AUTH", "one", token)).toBe(ok)
    expect(await clients[2].send("AUTH", "one", token)).toBe(
      "-ERR 2 connections are logged in as this tenant already\r\n"
    )
    await client.close()
    while (server.server.connections().size > 2) await new Promise(setImmediate)
    expect(await clients[2].send("AUTH", "one", token)).toBe(ok)
  })
})

describe("channels", () => {
  const message = (...words: readonly string[]) => `*${words.length}\r\n${words.map(bulk).join("")}`
  beforeEach(async () => {
    await server.create("one")
    await server.create("two")
  })

  it("of a tenant are its own, in both directions, and displayed for operators", async () => {
    const [one, two] = [await server.as("one"), await server.as("two")]
    await one.send("SUBSCRIBE", "news")
    await two.send("SUBSCRIBE", "news")
    expect(await client.send("PUBLISH", "news", "for operators")).toBe(":0\r\n")
    expect(await client.send("PUBLISH", "one:news", "for one")).toBe(":1\r\n")
    expect(await one.reply()).toBe(message("message", "news", "for one"))
    const oneToo = await server.connect()
    await oneToo.send("TENANT", "USE", "one")
    expect(await oneToo.send("PUBLISH", "news", "hello")).toBe(":1\r\n")
    expect(await one.reply()).toBe(message("message", "news", "hello"))
    await client.send("PSUBSCRIBE", "*")
    await oneToo.send("PUBLISH", "news", "again")
    expect(await client.reply()).toBe(message("pmessage", "*", "one:news", "again"))
    await client.send("PUNSUBSCRIBE")
    await oneToo.send("PUBLISH", "two:news", "not for two")
    expect(await client.send("PUBLISH", "two:news", "last")).toBe(":1\r\n")
    expect(await two.reply()).toBe(message("message", "news", "last"))
  })

  it("are matched by its patterns, within its own", async () => {
    const one = await server.as("one")
    expect(await one.send("PSUBSCRIBE", "*")).toBe("*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n")
    await client.pipeline([
      ["PUBLISH", "news", "x"],
      ["PUBLISH", "two:news", "x"],
      ["PUBLISH", "one:news", "y"]
    ])
    expect(await one.reply()).toBe(message("pmessage", "*", "news", "y"))
    await one.send("PUNSUBSCRIBE", "*")
    expect(await client.send("PUBLISH", "one:news", "z")).toBe(":0\r\n")
  })

  it("are told of to the tenant as its own, and to operators as they are displayed", async () => {
    const [one, two] = [await server.as("one"), await server.as("two")]
    await one.pipeline([["HELLO", "3"]])
    await one.send("SUBSCRIBE", "a")
    await one.send("PSUBSCRIBE", "b*")
    await two.send("SUBSCRIBE", "c")
    expect(
      await one.pipeline([
        ["PUBSUB", "CHANNELS"],
        ["PUBSUB", "CHANNELS", "a*"],
        ["PUBSUB", "NUMPAT"]
      ])
    ).toEqual(["*1\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n", ":1\r\n"])
    expect(await one.send("PUBSUB", "NUMSUB", "a", "c")).toBe("*4\r\n$1\r\na\r\n:1\r\n$1\r\nc\r\n:0\r\n")
    expect(await client.send("PUBSUB", "CHANNELS", "one:*")).toBe("*1\r\n$5\r\none:a\r\n")
  })

  it("of one tenant leave room for the patterns of others", async () => {
    await start({ patternBytesMax: 80 })
    await server.create("one")
    const one = await server.as("one")
    await one.send("HELLO", "3")
    expect(await one.send("PSUBSCRIBE", "abcdef")).toMatch(/^>3/)
    expect(await one.send("PSUBSCRIBE", "g")).toContain("all patterns together may take at most 10 bytes")
    expect(await one.send("PUNSUBSCRIBE", "abcdef")).toMatch(/^>3/)
    expect(await one.send("PSUBSCRIBE", "g")).toMatch(/^>3/)
  })
})

it("INFO tells a tenant of what is its own, and of the server no more than its version", async () => {
  await server.create("one")
  const one = await server.as("one")
  await one.send("SET", "k", "v")
  await client.send("SET", "k", "v")
  const info = await one.send("INFO")
  expect(info).toContain("db0:keys=1,")
  expect(info).toContain("connected_clients:1\r\n")
  for (const word of ["process_id", "tcp_port", "used_memory_rss", "total_commands_processed", "used_cpu_sys"]) {
    expect([word, info.includes(word)]).toEqual([word, false])
  }
  expect(await client.send("INFO")).toContain("connected_clients:2\r\n")
})
