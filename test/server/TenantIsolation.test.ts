/**
 * Nothing of others is reached by a connection that acts as a tenant: every command of the table is tried with arguments
 * that name others, as the tenant itself and as an operator who acts as it. A command without keys that does not say what
 * it reaches makes no table, so that nobody adds one without having thought of it.
 */
import { connect } from "node:net"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Command, CommandTable } from "../../src/server/Command.ts"
import { families } from "../../src/server/commands/index.ts"
import { Random } from "../support/Random.ts"
import { encode } from "./RawClient.ts"
import { startTenantServer, type TenantServer } from "./TenantServer.ts"

const marker = "5ec2e7" // in whatever is another's, and in no argument
const leaves = (commands: Iterable<Command>): Command[] =>
  [...commands].flatMap((command) =>
    command.subcommands.size === 0 ? [command] : [command, ...leaves(command.subcommands.values())]
  )
const all = leaves(new CommandTable(families).commands.values())

let server: TenantServer
let token: string

beforeAll(async () => {
  server = await startTenantServer()
  await server.create("t")
  const other = await server.create("other")
  await server.create(`third-${marker}`)
  token = await server.token("t")
  server.main.set(`main-${marker}`, `value-${marker}`)
  server.main.set("k", `value-${marker}`)
  other.keyspace.set(`hidden-${marker}`, `value-${marker}`)
  other.keyspace.set("k", `value-${marker}`)
  for (const id of ["t", "other"]) server.plays.set(`source-${id}`, () => ({ value: id === "t" ? 1 : marker }))
  const operator = await server.connect()
  await operator.send("CLIENT", "SETNAME", `operator-${marker}`)
  await operator.send("SUBSCRIBE", `channel-${marker}`)
  await operator.send("PSUBSCRIBE", `*${marker}`)
  const neighbour = await server.as("other")
  await neighbour.send("CLIENT", "SETNAME", `neighbour-${marker}`)
  await neighbour.send("SUBSCRIBE", `c-${marker}`)
})
afterAll(() => server.stop())

const words = [
  ...["k", "other:k", "t:k", "other", "t", "*", "other:*", "other*", "[o]ther:*", "\\other:*", "", "0", "1", "-1"],
  ...["default", "main", "ID", "LIST", "TYPE", "normal", "pubsub", "MATCH", "COUNT", "AFTER", "all", "SET", "GET"],
  ...["third", "ADDR", "FILTERBY", "PATTERN", "clients", "stats", "source-t", "ON_WRITE", "return 1", "RESET", "ASYNC"]
]

/** What a connection is answered that says `login`, then the command, and quits. */
const said = (login: readonly string[], args: readonly string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(server.port, "127.0.0.1", () => socket.write([login, args, ["QUIT"]].map(encode).join("")))
    let text = ""
    socket.setEncoding("latin1").on("data", (more) => {
      text += more
    })
    socket.on("close", () => resolve(text)).on("error", reject)
  })

/** What changes of an operator's or another tenant's keyspace. */
const others = () => {
  const keyspaces = [server.main, ...["other", `third-${marker}`].map((id) => server.tenants.get(id)?.keyspace)]
  return keyspaces.map((keyspace) => [keyspace?.size, keyspace?.version, keyspace?.stats.hits, keyspace?.stats.misses])
}

/** Arguments that a command accepts; the first of them is `first`, where it takes any. */
const argumentsOf = (command: Command, random: Random, first: string): string[] => {
  const least = Math.abs(command.arity)
  const count = command.arity >= 0 ? least : least + random.below(4)
  const args = command.fullName.split("|")
  if (args.length < count) args.push(first)
  while (args.length < count) args.push(random.pick(words))
  return args
}

describe.each([
  ["the tenant itself", () => ["AUTH", "t", token]],
  ["an operator who acts as it", () => ["TENANT", "USE", "t"]]
] as const)("as %s", (_who, login) => {
  it.each(all.map((command) => [command.fullName, command] as const))(
    "%s shows and changes nothing of others",
    async (name, command) => {
      const before = others()
      const random = new Random(name.length * 7919 + name.charCodeAt(0))
      for (const word of words) {
        const args = argumentsOf(command, random, word)
        server.triggersOf.length = 0
        const text = await said(login(), args)
        expect([args, text.includes(marker), server.triggersOf.filter((id) => id !== "t")]).toEqual([args, false, []])
        expect([args, text.startsWith("+OK\r\n")]).toEqual([args, true])
        expect([args, others()]).toEqual([args, before])
      }
    }
  )
})

it("what is for operators is refused by its name, whatever the arguments", async () => {
  const refusals = await Promise.all(
    all
      .filter(({ reach }) => reach !== "own")
      .map(async (command) => {
        const args = argumentsOf(command, new Random(1), "t")
        const asTenant = (await said(["AUTH", "t", token], args)).split("\r\n")[1]
        const acting = (await said(["TENANT", "USE", "t"], args)).split("\r\n")[1] as string
        return [command.fullName, asTenant, command.reach === "operator" ? acting : !acting.startsWith("-NOPERM '")]
      })
  )
  expect(refusals).toEqual(
    all
      .filter(({ reach }) => reach !== "own")
      .map(({ fullName, reach }) => [
        fullName,
        `-NOPERM '${fullName}' is for operators, not for tenants`,
        reach === "operator"
          ? `-NOPERM '${fullName}' reaches beyond the tenant; TENANT USE without an id ends acting as it`
          : true
      ])
  )
  expect(refusals.map(([name]) => name)).toEqual(
    expect.arrayContaining(["config|get", "config|set", "debug|crash", "tenant|create", "tenant|token", "trigger|set"])
  )
})

it("a command that names no keys and does not say what it reaches makes no table", () => {
  const row = { name: "new", arity: 1, flags: [], summary: "", since: "mimosa", run: () => {} } as const
  expect(() => new CommandTable([{ group: "x", commands: [row] }])).toThrow(
    "command 'new' does not say what it reaches"
  )
  const command = new CommandTable([{ group: "x", commands: [{ ...row, keys: [1, 1, 1] }] }]).find("new")
  expect(command?.reach).toBe("own")
})
