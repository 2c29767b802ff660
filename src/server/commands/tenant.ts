/**
 * TENANT …: who the tenants are, what they may use, and acting as one. Mimosa's own.
 *
 * TENANT USE is for operators: the connection's keys, channels, triggers and scripts are then that tenant's. A tenant
 * itself logs in with AUTH <id> <token>.
 */
import { InvalidJson } from "../../cache/CacheError.ts"
import type { Tenant, TenantLimits } from "../../cache/Tenants.ts"
import { fromJson, lossyText, toBytes, toText } from "../../cache/Values.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { answered } from "../EngineError.ts"
import { type Fields, writeFields } from "../Fields.ts"
import { RespError, textHint } from "../RespError.ts"
import { RespWriter } from "../RespWriter.ts"
import { limitNamed, limitRange, limitValue, respSpelling, tenantLimitNames } from "../TenantLimitWords.ts"
import { workPerLook } from "../Turns.ts"
import type { TenantPort } from "./TenantPort.ts"

/** TENANT CREATE id [PREFIX prefix] [LIMIT name value [name value …]] */
const createTenant: Handler = (client, args) => {
  const tenants = keeper(client)
  if (tenants === undefined) return
  let prefix: string | undefined
  let limits: Partial<TenantLimits> = {}
  for (let at = 3; at < args.length; ) {
    const option = (args[at++] as string).toLowerCase()
    if (option === "prefix" && at < args.length) prefix = lossyText(args[at++] as string)
    else if (option === "limit") {
      const from = at
      while (at < args.length && !isOption(args[at] as string)) at++
      const given = parseLimits(args, from, at)
      if (typeof given === "string") return client.fail(given)
      limits = { ...limits, ...given }
    } else return client.fail(RespError.syntax)
  }
  const input = { id: lossyText(args[2] as string), limits, ...(prefix === undefined ? {} : { prefix }) }
  return answered(
    client,
    tenants.create(input).then(() => client.reply.ok())
  )
}

const isOption = (word: string): boolean => /^(?:prefix|limit)$/i.test(word)

/** Limits from `from` to before `end`, as pairs of name and value; or why they are none, as an answer. */
const parseLimits = (args: readonly string[], from: number, end: number): Partial<TenantLimits> | string => {
  if (end === from || (end - from) % 2 !== 0) return RespError.limitPairs
  const limits: Record<string, number> = {}
  for (let at = from; at < end; at += 2) {
    const [given, text] = [args[at] as string, args[at + 1] as string]
    const name = limitNamed(given)
    if (name === undefined) return RespError.limitUnknown(given, tenantLimitNames.map(respSpelling).join(", "))
    const value = limitValue(name, text)
    if (value === undefined) return RespError.limitValue(respSpelling(name), limitRange(name), text)
    limits[name] = value
  }
  return limits
}

/** TENANT LIST: one array of fields and values each. */
const listTenants: Handler = (client) => {
  const tenants = keeper(client)?.list()
  if (tenants === undefined) return
  const { reply, server } = client
  const { replyBytesMax } = server.settings
  const rows = new RespWriter()
  rows.protocol = reply.protocol
  let at = 0
  return client.inTurns(() => {
    while (at < tenants.length && rows.size <= replyBytesMax) {
      writeFields(rows, summary(tenants[at++] as Tenant))
      if (server.turns.spend(rowWork) && at < tenants.length) return false
    }
    if (rows.size > replyBytesMax) client.fail(RespError.replyTooLarge(replyBytesMax))
    else {
      reply.array(tenants.length)
      reply.raw(rows.take())
    }
    return true
  })
}

const rowWork = 8 // what showing a tenant takes, in units of `Turns.spend`

const summary = ({ id, prefix, keyspace }: Tenant): Fields => ({
  id,
  prefix,
  entries: keyspace.size,
  bytes: keyspace.bytes
})

const tenantInfo: Handler = (client, args) => {
  const tenant = tenantNamed(client, args[2] as string)
  if (tenant === undefined) return
  const { stats } = tenant.keyspace
  let connections = 0
  for (const each of client.server.clients.values()) if (each.isBound && each.tenant === tenant) connections++
  writeFields(client.reply, {
    ...summary(tenant),
    version: tenant.version,
    created_at_ms: tenant.createdAtMs,
    updated_at_ms: tenant.updatedAtMs,
    saved: tenant.isSaved ? 1 : 0,
    token: tenant.tokenHash === null ? 0 : 1,
    connections,
    triggers: [...(client.server.triggers?.forTenant(tenant).list() ?? [])].length,
    scripts: client.server.scripts?.list(tenant.id).length ?? 0,
    env: [...tenant.env.keys()].map(toBytes),
    hits: stats.hits,
    misses: stats.misses,
    writes: stats.writes,
    expires: stats.expires,
    evictions: stats.evictions,
    ...shownLimits(tenant)
  })
}

const shownLimits = ({ limits }: Tenant): Fields =>
  Object.fromEntries(tenantLimitNames.map((name) => [respSpelling(name), limits[name]]))

/** TENANT LIMITS id [name value …]: its limits, after they have been changed. */
const tenantLimits: Handler = (client, args) => {
  const tenant = tenantNamed(client, args[2] as string)
  if (tenant === undefined) return
  if (args.length === 3) return writeFields(client.reply, shownLimits(tenant))
  const limits = parseLimits(args, 3, args.length)
  if (typeof limits === "string") return client.fail(limits)
  const { tenants } = client.server as { readonly tenants: TenantPort }
  return answered(
    client,
    tenants.setLimits(tenant.id, limits).then((changed) => writeFields(client.reply, shownLimits(changed)))
  )
}

/**
 * TENANT DEL id: 1 when it was there, else 0. Its keys, triggers and scripts go with it; its connections are closed.
 */
const removeTenant: Handler = (client, args) => {
  const tenants = keeper(client)
  if (tenants === undefined) return
  return answered(
    client,
    tenants.remove(lossyText(args[2] as string)).then((wasThere) => client.reply.integer(wasThere ? 1 : 0))
  )
}

/** TENANT USE [id | RESET] */
const useTenant: Handler = (client, args) => {
  const tenants = keeper(client)
  if (tenants === undefined) return
  if (args.length > 3) return client.fail(RespError.syntax)
  const id = args[2]
  const named = id === undefined ? undefined : tenants.get(id)
  const isReset = id === undefined || (named === undefined && id.toLowerCase() === "reset")
  if (!isReset && named === undefined) return client.fail(RespError.noTenant(id))
  const refusal = client.actAs(named ?? null, false)
  if (refusal === undefined) client.reply.ok()
  else client.fail(refusal)
}

/**
 * TENANT TOKEN id: a new token, which is shown this once. TENANT TOKEN id DEL: 1 where there was one. The one before opens
 * nothing any more, and who has logged in by it is let go.
 */
const tenantToken: Handler = (client, args) => {
  const tenant = tenantNamed(client, args[2] as string)
  if (tenant === undefined) return
  const { tenants } = client.server as { readonly tenants: TenantPort }
  if (args.length > 3) {
    if (args.length > 4 || args[3]?.toLowerCase() !== "del") return client.fail(RespError.syntax)
    return answered(
      client,
      tenants.revokeToken(tenant.id).then((wasThere) => client.reply.integer(wasThere ? 1 : 0))
    )
  }
  return answered(
    client,
    tenants.issueToken(tenant.id).then((token) => client.reply.bulk(token))
  )
}

/** TENANT ENV SET id name json | DEL id name | LIST id. Values go in, and are not shown again. */
const tenantEnv: Handler = (client, args) => {
  const action = (args[2] as string).toLowerCase()
  const wanted = { set: 6, del: 5, list: 4 }[action]
  if (wanted === undefined) return client.fail(RespError.unknownSubcommand(args[2] as string, "tenant|env"))
  if (args.length !== wanted) return client.fail(RespError.arity(`tenant|env|${action}`))
  const tenant = tenantNamed(client, args[3] as string)
  if (tenant === undefined) return
  if (action === "list") return client.reply.bulks([...tenant.env.keys()].map(toBytes))
  const { tenants } = client.server as { readonly tenants: TenantPort }
  const name = lossyText(args[4] as string)
  if (action === "del") {
    const wasThere = tenant.env.has(name)
    return answered(
      client,
      tenants.setEnv(tenant.id, name, undefined).then(() => client.reply.integer(wasThere ? 1 : 0))
    )
  }
  const text = toText(args[5] as string)
  const value = text === undefined ? undefined : fromJson(text)
  if (value === undefined) return client.fail(RespError.notText("the value"))
  if (value instanceof InvalidJson)
    return client.fail(RespError.notJson("the value", value.message, textHint(text as string)))
  return answered(
    client,
    tenants.setEnv(tenant.id, name, value).then(() => client.reply.ok())
  )
}

/** The keeper of tenants; answers an error where the server has none. */
const keeper = (client: Client): TenantPort | undefined => {
  const { tenants, turns } = client.server
  turns.count(workPerLook)
  if (tenants === undefined) client.fail(RespError.noTenants)
  return tenants
}

/** The tenant of this id, which has to be the connection's own where it acts as one; else answers an error. */
export const tenantNamed = (client: Client, id: string): Tenant | undefined => {
  if (client.tenant !== null && client.tenant.id !== id) {
    client.fail(RespError.notOwnTenant(client.tenant.id))
    return undefined
  }
  const tenants = keeper(client)
  const tenant = client.tenant ?? tenants?.get(id)
  if (tenants !== undefined && tenant === undefined) client.fail(RespError.noTenant(id))
  return tenants === undefined ? undefined : tenant
}

export const tenants: CommandFamily = {
  group: "tenant",
  commands: [
    {
      name: "tenant",
      arity: -2,
      flags: [],
      summary: "A container for commands about tenants.",
      since: "mimosa",
      subcommands: [
        {
          name: "create",
          arity: -3,
          flags: ["admin", "no_multi"],
          reach: "operator",
          syntax: "<id> [PREFIX <prefix>] [LIMIT <name> <value> [<name> <value> ...]]",
          summary: "Makes a tenant, with keys, triggers, scripts and limits of its own.",
          since: "mimosa",
          run: createTenant
        },
        {
          name: "list",
          arity: 2,
          flags: ["admin", "no_multi"],
          reach: "operator",
          summary: "Returns the tenants, one array of fields and values each.",
          since: "mimosa",
          run: listTenants
        },
        {
          name: "info",
          arity: 3,
          flags: [],
          reach: "own",
          syntax: "<id>",
          summary: "Returns everything about a tenant: entries, figures, limits.",
          since: "mimosa",
          run: tenantInfo
        },
        {
          name: "limits",
          arity: -3,
          flags: ["admin", "no_multi"],
          reach: "operator",
          syntax: "<id> [<name> <value> ...]",
          summary: "Changes limits of a tenant, and returns all of them.",
          since: "mimosa",
          run: tenantLimits
        },
        {
          name: "del",
          arity: 3,
          flags: ["admin", "no_multi"],
          reach: "operator",
          syntax: "<id>",
          summary: "Removes a tenant with all that is its own; returns 1 when it was there.",
          since: "mimosa",
          run: removeTenant
        },
        {
          name: "use",
          arity: -2,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "[<id>|RESET]",
          summary: "Has this connection act as a tenant, or as an operator again.",
          since: "mimosa",
          run: useTenant
        },
        {
          name: "token",
          arity: -3,
          flags: ["admin", "no_multi"],
          reach: "operator",
          syntax: "<id> [DEL]",
          summary: "Returns a new token by which the tenant logs in, or has none (DEL); the one before is void.",
          since: "mimosa",
          run: tenantToken
        },
        {
          name: "env",
          arity: -4,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "SET <id> <name> <json>|DEL <id> <name>|LIST <id>",
          summary: "Sets values that the tenant's scripts find as globals; LIST returns their names.",
          since: "mimosa",
          run: tenantEnv
        }
      ]
    }
  ]
}
