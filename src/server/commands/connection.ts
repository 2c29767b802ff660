/** Commands about the connection itself. */
import { parseNumber } from "../../cache/Int64.ts"
import { type Client, ClientMode } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { RespError } from "../RespError.ts"
import { redisVersion } from "./info.ts"

const ping: Handler = ({ reply, modes }, args) => {
  if (args.length > 2) reply.error(RespError.arity("ping"))
  else if ((modes & ClientMode.subscribed) !== 0) reply.bulks(["pong", args[1] ?? ""])
  else if (args.length === 2) reply.bulk(args[1] as string)
  else reply.simple("PONG")
}

const select: Handler = (client, args) => {
  const db = parseNumber(args[1] as string)
  if (db === undefined) client.fail(RespError.notInteger)
  else if (db < -(2 ** 31) || db >= 2 ** 31) client.fail(RespError.int32Range)
  else if (db !== 0) client.fail(RespError.dbRange)
  else client.reply.ok()
}

const quit: Handler = (client) => {
  client.reply.ok()
  client.isClosing = true
}

const reset: Handler = (client) => {
  client.reset()
  client.reply.simple("RESET")
}

/**
 * Logs in as the operator, whose name is "default" and whose password is the server's, or as a tenant, by its id and its
 * token, and then for good. Answers an error and returns false where that is wrong.
 */
const authenticate = (client: Client, user: string, password: string): boolean => {
  const tenant = client.server.tenants?.byToken(password)
  if (tenant !== undefined && tenant.id === user) {
    const refusal = client.actAs(tenant, true)
    if (refusal !== undefined) client.fail(refusal)
    else client.modes &= ~ClientMode.unauthenticated
    return refusal === undefined
  }
  const expected = client.server.settings.password
  if (client.isBound) {
    client.fail(RespError.boundToTenant)
    return false
  }
  if (user === "default" && (expected === undefined || password === expected)) {
    client.modes &= ~ClientMode.unauthenticated
    return true
  }
  client.fail(RespError.wrongPassword)
  return false
}

const auth: Handler = (client, args) => {
  if (args.length > 3) return client.fail(RespError.syntax)
  if (args.length === 2 && client.server.settings.password === undefined && !client.isBound) {
    return client.fail(RespError.noPassword)
  }
  const [user, password] = args.length === 2 ? ["default", args[1]] : [args[1], args[2]]
  if (authenticate(client, user as string, password as string)) client.reply.ok()
}

/** HELLO [protover [AUTH user password] [SETNAME name]] */
const hello: Handler = (client, args) => {
  let at = 1
  let protocol: 2 | 3 = client.reply.protocol
  if (args.length > 1) {
    const version = parseNumber(args[at++] as string)
    if (version === undefined) return client.fail(RespError.protoNotInteger)
    if (version !== 2 && (version !== 3 || client.server.settings.protocolMax < 3)) {
      return client.fail(RespError.noProto)
    }
    protocol = version
  }
  let name: string | undefined
  for (; at < args.length; at++) {
    const option = (args[at] as string).toLowerCase()
    if (option === "auth" && at + 2 < args.length) {
      if (!authenticate(client, args[at + 1] as string, args[at + 2] as string)) return
      at += 2
    } else if (option === "setname" && at + 1 < args.length) {
      name = args[++at] as string
      if (!isName(name)) return client.fail(RespError.clientName)
      if (name.length > nameBytesMax) return client.fail(RespError.longName)
    } else return client.fail(RespError.helloSyntax(args[at] as string))
  }
  if ((client.modes & ClientMode.unauthenticated) !== 0) return client.fail(RespError.helloNoAuth)
  if (name !== undefined) client.name = name
  client.speak(protocol)
  const { reply } = client
  reply.map(7)
  reply.bulk("server")
  reply.bulk("redis")
  reply.bulk("version")
  reply.bulk(redisVersion)
  reply.bulk("proto")
  reply.integer(protocol)
  reply.bulk("id")
  reply.integer(client.id)
  reply.bulk("mode")
  reply.bulk("standalone")
  reply.bulk("role")
  reply.bulk("master")
  reply.bulk("modules")
  reply.array(0)
}

const clientSetName: Handler = (client, args) => {
  if (!isName(args[2] as string)) return client.fail(RespError.clientName)
  if ((args[2] as string).length > nameBytesMax) return client.fail(RespError.longName)
  client.name = args[2] as string
  client.reply.ok()
}

const clientGetName: Handler = ({ reply, name }) => (name === "" ? reply.nil() : reply.bulk(name))

/** CLIENT SETINFO LIB-NAME | LIB-VER. Redis has it from 7.2 on; clients send it to everyone. */
const clientSetInfo: Handler = (client, args) => {
  const [attribute, value] = [(args[2] as string).toLowerCase(), args[3] as string]
  if (attribute !== "lib-name" && attribute !== "lib-ver") {
    return client.fail(`ERR Unrecognized option '${args[2]}'`)
  }
  if (!isName(value)) {
    return client.fail(`ERR ${attribute} cannot contain spaces, newlines or special characters.`)
  }
  if (value.length > nameBytesMax) return client.fail(RespError.longName)
  if (attribute === "lib-name") client.libraryName = value
  else client.libraryVersion = value
  client.reply.ok()
}

const clientId: Handler = ({ reply, id }) => reply.integer(id)

const clientInfo: Handler = (client) => client.reply.bulk(`${describe(client)}\n`)

/** CLIENT LIST [TYPE normal|pubsub|…] [ID id…] */
const clientList: Handler = (client, args) => {
  let chosen = [...client.server.clients.values()].filter((each) => each.isShownTo(client))
  const option = args[2]?.toLowerCase()
  if (option === "type" && args.length === 4) {
    const type = (args[3] as string).toLowerCase()
    if (!["normal", "master", "replica", "slave", "pubsub"].includes(type)) {
      return client.fail(`ERR Unknown client type '${args[3]}'`)
    }
    chosen = chosen.filter((each) => type === (each.subscriptionCount > 0 ? "pubsub" : "normal"))
  } else if (option === "id" && args.length > 3) {
    const ids = args.slice(3).map(parseNumber)
    if (ids.some((id) => id === undefined || id < 1)) return client.fail("ERR Invalid client ID")
    const { clients } = client.server
    chosen = ids.flatMap((id) => clients.get(id as number) ?? []).filter((each) => each.isShownTo(client))
  } else if (option !== undefined) return client.fail(RespError.syntax)
  const { settings, turns } = client.server
  let [at, shown] = [0, ""]
  return client.inTurns(() => {
    while (at < chosen.length && shown.length <= settings.replyBytesMax) {
      shown += `${describe(chosen[at++] as Client)}\n`
      if (turns.spend(descriptionWork) && at < chosen.length) return false
    }
    if (at < chosen.length) client.fail(RespError.replyTooLarge(settings.replyBytesMax))
    else client.reply.bulk(shown)
    return true
  })
}

/** CLIENT KILL ID <id> | ADDR <ip:port> | <ip:port> */
const clientKill: Handler = (client, args) => {
  const isOldForm = args.length === 3
  const [filter, value] = isOldForm ? ["addr", args[2]] : [(args[2] as string).toLowerCase(), args[3]]
  if (args.length > 4 || (filter !== "id" && filter !== "addr")) return client.fail(RespError.syntax)
  let killed = 0
  for (const each of client.server.clients.values()) {
    if (!each.isShownTo(client)) continue
    if ((filter === "id" ? String(each.id) : each.wire.remoteAddress) !== value) continue
    if (each === client && !isOldForm) continue // SKIPME is Redis' default
    killed++
    if (each === client) client.isClosing = true
    else each.wire.cut()
  }
  if (!isOldForm) client.reply.integer(killed)
  else if (killed === 0) client.fail("ERR No such client")
  else client.reply.ok()
}

const clientReply: Handler = (client, args) => {
  const mode = (args[2] as string).toLowerCase()
  if (mode === "on") {
    client.modes &= ~(ClientMode.replyOff | ClientMode.replySkip)
    client.reply.ok()
  } else if (mode === "off") client.modes |= ClientMode.replyOff
  else if (mode === "skip") {
    if ((client.modes & ClientMode.replyOff) === 0) client.modes |= ClientMode.replySkip
  } else client.fail(RespError.syntax)
}

/** NO-EVICT and NO-TOUCH: taken for the sake of clients that send them; no client is ever evicted here. */
const clientFlag: Handler = (client, args) => {
  const value = (args[2] as string).toLowerCase()
  if (value === "on" || value === "off") client.reply.ok()
  else client.fail(RespError.syntax)
}

/** A client as CLIENT LIST shows it. */
const describe = (client: Client): string => {
  const nowMs = client.server.clock.nowMs()
  const flags = client.subscriptionCount > 0 ? "P" : (client.modes & ClientMode.multi) !== 0 ? "x" : "N"
  const multi = (client.modes & ClientMode.multi) !== 0 ? client.queue.length : -1
  return [
    `id=${client.id} addr=${client.wire.remoteAddress} laddr=${client.wire.localAddress} fd=-1 name=${client.name}`,
    `age=${Math.floor((nowMs - client.connectedAtMs) / 1000)} idle=${Math.floor((nowMs - client.lastAtMs) / 1000)}`,
    `flags=${flags} db=0 sub=${client.channels.size} psub=${client.patterns.size} multi=${multi}`,
    `obl=${client.reply.size} events=r cmd=${client.lastCommand?.fullName ?? "NULL"} user=${client.isBound ? client.tenant?.id : "default"} resp=${client.reply.protocol}`,
    ...(client.tenant === null ? [] : [`tenant=${client.tenant.id}`]),
    `lib-name=${client.libraryName} lib-ver=${client.libraryVersion}`
  ].join(" ")
}

const descriptionWork = 16 // what describing a client takes, in units of `Turns.spend`
const nameBytesMax = 256 // in CLIENT LIST each stands once for every client

/** Printable ASCII without blanks, so that CLIENT LIST can be taken apart again. */
const isName = (text: string): boolean => /^[!-~]*$/.test(text)

export const connection: CommandFamily = {
  group: "connection",
  commands: [
    {
      name: "ping",
      arity: -1,
      flags: ["fast"],
      reach: "own",
      syntax: "[message]",
      summary: "Answers PONG, or the message.",
      since: "1.0.0",
      run: ping
    },
    {
      name: "echo",
      arity: 2,
      flags: ["fast"],
      reach: "own",
      syntax: "message",
      summary: "Answers the message.",
      since: "1.0.0",
      run: ({ reply }, args) => reply.bulk(args[1] as string)
    },
    {
      name: "select",
      arity: 2,
      flags: ["loading", "stale", "fast"],
      reach: "own",
      syntax: "index",
      summary: "Changes the database; there is one, 0.",
      since: "1.0.0",
      run: select
    },
    {
      name: "quit",
      arity: -1,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
      reach: "own",
      summary: "Closes the connection.",
      since: "1.0.0",
      run: quit
    },
    {
      name: "reset",
      arity: 1,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
      reach: "own",
      summary: "Puts the connection back to its beginning.",
      since: "6.2.0",
      run: reset
    },
    {
      name: "auth",
      arity: -2,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
      reach: "own",
      syntax: "[username] password",
      summary: "Authenticates the connection.",
      since: "1.0.0",
      run: auth
    },
    {
      name: "hello",
      arity: -1,
      flags: ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"],
      reach: "own",
      syntax: "[protover [AUTH username password] [SETNAME clientname]]",
      summary: "Agrees on the protocol and tells about the server.",
      since: "6.0.0",
      run: hello
    },
    {
      name: "client",
      arity: -2,
      flags: [],
      summary: "A container for commands about connections.",
      since: "2.4.0",
      subcommands: [
        {
          name: "setname",
          arity: 3,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          syntax: "<name>",
          summary: "Assigns a name to this connection.",
          since: "2.6.9",
          run: clientSetName
        },
        {
          name: "getname",
          arity: 2,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          summary: "Returns this connection's name.",
          since: "2.6.9",
          run: clientGetName
        },
        {
          name: "setinfo",
          arity: 4,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          syntax: "<LIB-NAME|LIB-VER> <value>",
          summary: "Tells which library the client uses.",
          since: "7.2.0",
          run: clientSetInfo
        },
        {
          name: "id",
          arity: 2,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          summary: "Returns this connection's id.",
          since: "5.0.0",
          run: clientId
        },
        {
          name: "info",
          arity: 2,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          summary: "Returns information about this connection.",
          since: "6.2.0",
          run: clientInfo
        },
        {
          name: "list",
          arity: -2,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "own",
          syntax: "[TYPE <type>|ID <id> ...]",
          summary: "Returns information about connections.",
          since: "2.4.0",
          run: clientList
        },
        {
          name: "kill",
          arity: -3,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "own",
          syntax: "<ip:port>|ID <id>|ADDR <ip:port>",
          summary: "Closes a connection.",
          since: "2.4.0",
          run: clientKill
        },
        {
          name: "reply",
          arity: 3,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          syntax: "<ON|OFF|SKIP>",
          summary: "Says whether commands are answered.",
          since: "3.2.0",
          run: clientReply
        },
        {
          name: "no-evict",
          arity: 3,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "own",
          syntax: "<ON|OFF>",
          summary: "Accepted; no client is evicted.",
          since: "7.0.0",
          run: clientFlag
        },
        {
          name: "no-touch",
          arity: 3,
          flags: ["noscript", "loading", "stale"],
          reach: "own",
          syntax: "<ON|OFF>",
          summary: "Accepted; reads count as use.",
          since: "7.2.0",
          run: clientFlag
        }
      ]
    }
  ]
}
