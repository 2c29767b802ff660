/** Commands about the server: what it is, what it can do, how it is set, and emptying it. */
import { globMatches } from "../../kernel/index.ts"
import type { Command, CommandFamily, Handler } from "../Command.ts"
import { RespError } from "../RespError.ts"
import type { RespWriter } from "../RespWriter.ts"
import type { ServerState } from "../ServerState.ts"
import { workPerLook } from "../Turns.ts"
import { info } from "./info.ts"

const dbSize: Handler = ({ keyspace, reply }) => reply.integer(keyspace.size)

/**
 * FLUSHALL and FLUSHDB [ASYNC | SYNC]. What is overdue expires first, in as many turns as that takes; the rest then goes
 * at once. ASYNC is the same: memory is given back in the background anyway. An operator's FLUSHALL empties the tenants,
 * too; whoever acts as a tenant empties that one.
 */
const flushWith =
  (isAll: boolean): Handler =>
  (client, args) => {
    const mode = args[1]?.toLowerCase()
    if (args.length > 2 || (mode !== undefined && mode !== "async" && mode !== "sync")) {
      return client.fail(RespError.syntax)
    }
    const { keyspace, reply, server, tenant } = client
    const tenants = isAll && tenant === null ? (server.tenants?.list() ?? []) : []
    const keyspaces = [keyspace, ...tenants.map((each) => each.keyspace)]
    return client.inTurns(() => {
      for (let next = keyspaces.at(-1); next !== undefined; next = keyspaces.at(-1)) {
        while (next.advance(server.clock.nowMs(), expiredPerLook) === expiredPerLook) {
          if (server.turns.spend(workPerLook)) return false
        }
        next.flush()
        keyspaces.pop()
        if (server.turns.spend(workPerLook) && keyspaces.length > 0) return false
      }
      reply.ok()
      return true
    })
  }

const expiredPerLook = 4 // entries; each may set off a cascade of triggers

const time: Handler = ({ server, reply }) => {
  const nowMs = server.clock.nowMs()
  reply.bulks([String(Math.floor(nowMs / 1000)), String((nowMs % 1000) * 1000)])
}

// COMMAND

const commandAll: Handler = ({ server, reply }) => {
  reply.array(server.commands.commands.size)
  for (const command of server.commands.commands.values()) describe(reply, command)
}

const commandCount: Handler = ({ server, reply }) => reply.integer(server.commands.commands.size)

const commandInfo: Handler = ({ server, reply }, args) => {
  if (args.length === 2) {
    reply.array(server.commands.commands.size)
    for (const command of server.commands.commands.values()) describe(reply, command)
    return
  }
  reply.array(args.length - 2)
  for (const name of args.slice(2)) {
    const command = findByFullName(server, name)
    if (command === undefined) reply.nilArray()
    else describe(reply, command)
  }
}

const commandDocs: Handler = ({ server, reply }, args) => {
  const asked =
    args.length === 2
      ? [...server.commands.commands.values()]
      : args.slice(2).flatMap((name) => findByFullName(server, name) ?? [])
  reply.map(asked.length)
  for (const command of asked) document(reply, command)
}

/** COMMAND LIST [FILTERBY PATTERN glob | ACLCAT category | MODULE name] */
const commandList: Handler = (client, args) => {
  const names = [...client.server.commands.commands.keys()]
  if (args.length === 2) return client.reply.bulks(names)
  const [filter, by, value] = [args[2]?.toLowerCase(), args[3]?.toLowerCase(), args[4]]
  if (args.length !== 5 || filter !== "filterby") return client.fail(RespError.syntax)
  if (by === "pattern") {
    const { channelBytesMax } = client.server.settings
    const glob = (value as string).toLowerCase()
    if (glob.length > channelBytesMax) client.fail(RespError.globTooLong(channelBytesMax))
    else client.reply.bulks(names.filter((name) => globMatches(glob, name)))
  } else if (by === "module") client.reply.bulks([])
  else if (by === "aclcat") {
    const category = `@${(value as string).toLowerCase()}`
    const isIn = (command: Command) => categoriesOf(command).includes(category)
    client.reply.bulks(names.filter((name) => isIn(client.server.commands.commands.get(name) as Command)))
  } else client.fail(RespError.syntax)
}

const commandGetKeys: Handler = (client, args) => {
  const asked = args.slice(2)
  let command = client.server.commands.find(asked[0] as string)
  if (command !== undefined && command.subcommands.size > 0 && asked.length > 1) {
    command = command.subcommands.get((asked[1] as string).toLowerCase())
  }
  if (command === undefined) return client.fail(RespError.invalidCommand)
  if (command.keys[0] === 0) return client.fail(RespError.noKeyArguments)
  if (!command.accepts(asked.length)) return client.fail(RespError.getKeysArity)
  client.reply.bulks(command.keysOf(asked))
}

const findByFullName = (server: ServerState, name: string): Command | undefined => {
  const [container, subcommand] = name.split("|") as [string, string | undefined]
  const command = server.commands.find(container)
  return subcommand === undefined ? command : command?.subcommands.get(subcommand.toLowerCase())
}

/** A command as COMMAND INFO shows it: ten elements since Redis 7.0. */
const describe = (reply: RespWriter, command: Command): void => {
  const { row, keys } = command
  reply.array(10)
  reply.bulk(command.fullName)
  reply.integer(command.arity)
  simples(reply, row.flags)
  for (const position of keys) reply.integer(position)
  simples(reply, categoriesOf(command))
  reply.array(0) // tips
  if (keys[0] === 0) reply.array(0)
  else describeKeys(reply, command)
  reply.array(command.subcommands.size)
  for (const subcommand of command.subcommands.values()) describe(reply, subcommand)
}

const describeKeys = (reply: RespWriter, { keys: [first, last, step], row }: Command): void => {
  reply.array(1)
  reply.map(3)
  reply.bulk("flags")
  simples(reply, row.flags.includes("write") ? ["RW", "UPDATE"] : ["RO", "ACCESS"])
  reply.bulk("begin_search")
  reply.map(2)
  reply.bulk("type")
  reply.bulk("index")
  reply.bulk("spec")
  reply.map(1)
  reply.bulk("index")
  reply.integer(first)
  reply.bulk("find_keys")
  reply.map(2)
  reply.bulk("type")
  reply.bulk("range")
  reply.bulk("spec")
  reply.map(3)
  reply.bulk("lastkey")
  reply.integer(last < 0 ? last : last - first)
  reply.bulk("keystep")
  reply.integer(step)
  reply.bulk("limit")
  reply.integer(0)
}

const document = (reply: RespWriter, command: Command): void => {
  const { row, group, subcommands } = command
  reply.bulk(command.fullName)
  reply.map(subcommands.size > 0 ? 4 : 3)
  reply.bulk("summary")
  reply.bulk(row.summary)
  reply.bulk("since")
  reply.bulk(row.since)
  reply.bulk("group")
  reply.bulk(group)
  if (subcommands.size === 0) return
  reply.bulk("subcommands")
  reply.map(subcommands.size)
  for (const subcommand of subcommands.values()) document(reply, subcommand)
}

const categoriesOf = ({ row, group }: Command): string[] => {
  const categories = groupCategories[group] === undefined ? [] : [groupCategories[group]]
  if (row.flags.includes("write")) categories.push("@write")
  if (row.flags.includes("readonly")) categories.push("@read")
  if (row.flags.includes("admin")) categories.push("@admin", "@dangerous")
  categories.push(row.flags.includes("fast") ? "@fast" : "@slow")
  return categories
}

const groupCategories: Readonly<Record<string, string>> = {
  generic: "@keyspace",
  string: "@string",
  pubsub: "@pubsub",
  connection: "@connection",
  transactions: "@transaction"
}

const simples = (reply: RespWriter, words: readonly string[]): void => {
  reply.set(words.length)
  for (const word of words) reply.simple(word)
}

// CONFIG

/** What CONFIG GET shows. Everything is given to the server when it starts. */
const configOf = ({ keyspace, settings, port, debug }: ServerState): Readonly<Record<string, string>> => {
  const { hardBytes, softBytes, softMs } = settings.subscriberLimit
  return {
    maxmemory: String(keyspace.maxBytes),
    "maxmemory-policy": "allkeys-lru",
    "max-entries": String(keyspace.maxEntries),
    maxclients: String(settings.clientsMax),
    "maxmemory-clients": String(settings.clientBytesMax),
    timeout: String(Math.floor(settings.idleTimeoutMs / 1000)),
    databases: "1",
    bind: settings.host,
    port: String(port),
    save: "",
    appendonly: "no",
    "enable-debug-command": debug === undefined ? "no" : "yes",
    "notify-keyspace-events": "",
    "proto-max-bulk-len": String(settings.limits.bulkBytesMax),
    "client-output-buffer-limit": `normal ${settings.replyBytesMax} 0 0 slave 0 0 0 pubsub ${hardBytes} ${softBytes} ${Math.floor(softMs / 1000)}`
  }
}

const configGet: Handler = (client, args) => {
  const { server, reply } = client
  const { channelBytesMax } = server.settings
  const globs = args.slice(2).map((glob) => glob.toLowerCase())
  if (globs.join("").length > channelBytesMax) return client.fail(RespError.globTooLong(channelBytesMax))
  const found = Object.entries(configOf(server)).filter(([name]) => globs.some((glob) => globMatches(glob, name)))
  reply.map(found.length)
  for (const [name, value] of found) {
    reply.bulk(name)
    reply.bulk(value)
  }
}

/** CONFIG SET name value […]: nothing can be changed while the server runs; setting what is so already is no change. */
const configSet: Handler = (client, args) => {
  if (args.length % 2 !== 0) return client.fail(RespError.arity("config|set"))
  const config = configOf(client.server)
  for (let at = 2; at < args.length; at += 2) {
    const name = (args[at] as string).toLowerCase()
    if (!Object.hasOwn(config, name)) return client.fail(RespError.configUnknown(args[at] as string))
    if (config[name] === args[at + 1]) continue
    const reason =
      name === "notify-keyspace-events"
        ? "keyspace notifications are not published; register a trigger that emits instead"
        : "can't set immutable config"
    return client.fail(RespError.configRefused(name, reason))
  }
  client.reply.ok()
}

const configResetStat: Handler = ({ server, keyspace, reply }) => {
  zero(server.stats)
  zero(keyspace.stats)
  zero(server.bus.stats)
  reply.ok()
}

const zero = (counters: object): void => {
  for (const name of Object.keys(counters)) Reflect.set(counters, name, 0)
}

export const server: CommandFamily = {
  group: "server",
  commands: [
    {
      name: "info",
      arity: -1,
      flags: ["loading", "stale"],
      reach: "own",
      syntax: "[section [section ...]]",
      summary: "Tells about the server.",
      since: "1.0.0",
      run: info
    },
    {
      name: "dbsize",
      arity: 1,
      flags: ["readonly", "fast"],
      reach: "own",
      summary: "Returns the number of keys.",
      since: "1.0.0",
      run: dbSize
    },
    {
      name: "flushall",
      arity: -1,
      flags: ["write"],
      reach: "own",
      syntax: "[ASYNC|SYNC]",
      summary: "Removes all keys, those of the tenants included.",
      since: "1.0.0",
      run: flushWith(true)
    },
    {
      name: "flushdb",
      arity: -1,
      flags: ["write"],
      reach: "own",
      syntax: "[ASYNC|SYNC]",
      summary: "Removes all keys.",
      since: "1.0.0",
      run: flushWith(false)
    },
    {
      name: "time",
      arity: 1,
      flags: ["loading", "stale", "fast"],
      reach: "own",
      summary: "Returns the server's time: seconds and microseconds.",
      since: "2.6.0",
      run: time
    },
    {
      name: "command",
      arity: -1,
      flags: ["loading", "stale"],
      reach: "own",
      summary: "Tells about all commands.",
      since: "2.8.13",
      run: commandAll,
      subcommands: [
        {
          name: "count",
          arity: 2,
          flags: ["loading", "stale"],
          reach: "own",
          summary: "Returns the number of commands.",
          since: "2.8.13",
          run: commandCount
        },
        {
          name: "docs",
          arity: -2,
          flags: ["loading", "stale"],
          reach: "own",
          syntax: "[<command> ...]",
          summary: "Returns the documentation of commands.",
          since: "7.0.0",
          run: commandDocs
        },
        {
          name: "info",
          arity: -2,
          flags: ["loading", "stale"],
          reach: "own",
          syntax: "[<command> ...]",
          summary: "Tells about commands.",
          since: "2.8.13",
          run: commandInfo
        },
        {
          name: "list",
          arity: -2,
          flags: ["loading", "stale"],
          reach: "own",
          syntax: "[FILTERBY <MODULE <module>|ACLCAT <category>|PATTERN <pattern>>]",
          summary: "Returns the names of commands.",
          since: "7.0.0",
          run: commandList
        },
        {
          name: "getkeys",
          arity: -4,
          flags: ["loading", "stale"],
          reach: "own",
          syntax: "<command> [<arg> ...]",
          summary: "Returns the keys in a command.",
          since: "2.8.13",
          run: commandGetKeys
        }
      ]
    },
    {
      name: "config",
      arity: -2,
      flags: [],
      summary: "A container for commands about settings.",
      since: "2.0.0",
      subcommands: [
        {
          name: "get",
          arity: -3,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "operator",
          syntax: "<pattern> [<pattern> ...]",
          summary: "Returns settings.",
          since: "2.0.0",
          run: configGet
        },
        {
          name: "set",
          arity: -4,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "operator",
          syntax: "<name> <value> [<name> <value> ...]",
          summary: "Accepts settings that are so already; none can be changed.",
          since: "2.0.0",
          run: configSet
        },
        {
          name: "resetstat",
          arity: 2,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "operator",
          summary: "Sets the counters to zero.",
          since: "2.0.0",
          run: configResetStat
        }
      ]
    }
  ]
}
