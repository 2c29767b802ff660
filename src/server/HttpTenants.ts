/**
 * Tenants and their scripts over HTTP. Whoever has the server's password may ask all of it; a tenant, by its token,
 * what is its own.
 *
 * Values are JSON in the exact form (cache/Json.ts): what a script returns comes back as it is. A run ends when its
 * client goes.
 */
import { Effect } from "effect"
import { InvalidJson } from "../cache/CacheError.ts"
import { parseJson } from "../cache/Json.ts"
import type { Tenant, TenantLimits } from "../cache/Tenants.ts"
import { ttlMsOf, ttlSecondsMax } from "../cache/Ttl.ts"
import { asText, fromJson, fromNested, toBytes, toExactJson } from "../cache/Values.ts"
import type { Nested, Value, ValueObject } from "../kernel/index.ts"
import type { ScriptInfo } from "../scripting/index.ts"
import { isRunning, type Running, type RunOutcome, type ScriptPort } from "./commands/ScriptPort.ts"
import type { TenantPort } from "./commands/TenantPort.ts"
import { failure, json, jsonText, refusal } from "./HttpAnswer.ts"
import { brief, fieldsOf, linesAskedFor, objectOf } from "./HttpInput.ts"
import type { Asked, Response, Route } from "./HttpRoute.ts"
import { RespError } from "./RespError.ts"
import { limitsOf, raisedByRequest, tenantLimitNames } from "./TenantLimitWords.ts"

/** What these routes ask; they are there where the server keeps tenants. */
export interface TenantViews {
  readonly tenants?: TenantPort | undefined
  readonly scripts?: ScriptPort | undefined
  /** The clock by which entries age; the machine's when left out. */
  readonly nowMs?: () => number
}

type TenantRoute = Route<TenantViews>

// Tenants

const listTenants: TenantRoute["run"] = ({ tenants }) => done((tenants?.list() ?? []).map(summary))

const getTenant: TenantRoute["run"] = (views, asked) => withTenant(views, asked, ({ tenant }) => done(shown(tenant)))

/** Makes a tenant, or changes the limits of the one that is there, and keeps it. */
const putTenant: TenantRoute["run"] = (views, asked) => {
  const { tenants } = views
  const body = asked.body === "" ? {} : objectOf(asked.body, ["prefix", "limits"])
  if (typeof body === "string") return refused(400, body)
  const { prefix, limits = {} } = body as { readonly prefix?: unknown; readonly limits?: unknown }
  if (prefix !== undefined && typeof prefix !== "string") return refused(400, "prefix is a text")
  if (typeof limits !== "object" || limits === null || Array.isArray(limits)) {
    return refused(400, `limits is an object of ${tenantLimitNames.join(", ")}`)
  }
  const id = asked.params.tenant as string
  const known = tenants?.get(id)
  const given: Partial<TenantLimits> = limitsOf(limits)
  if (tenants === undefined) return refused(503, noTenants)
  if (known === undefined) {
    const input = { id, limits: given, ...(prefix === undefined ? {} : { prefix }) }
    return saved(asked, tenants.create(input), (tenant) => json(shown(tenant), 201))
  }
  if (prefix !== undefined && prefix !== known.prefix) {
    return refused(409, `the tenant's prefix is '${known.prefix}', and stays it while the tenant is there`)
  }
  // One that a program has opened by its prefix alone becomes one that is kept.
  const changed = known.isSaved
    ? tenants.setLimits(id, given)
    : tenants.create({ id, prefix: known.prefix, limits: given })
  return saved(asked, changed, (tenant) => json(shown(tenant)))
}

const deleteTenant: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenants, tenant }) =>
    saved(asked, tenants.remove(tenant.id), (removed) => json({ removed }))
  )

const postToken: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenants, tenant }) =>
    saved(asked, tenants.issueToken(tenant.id), (token) => json({ token }, 201))
  )

const deleteToken: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenants, tenant }) =>
    saved(asked, tenants.revokeToken(tenant.id), (removed) => json({ removed }))
  )

const putEnv: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenants, tenant }) => {
    const value = fromJson(asked.body)
    if (value instanceof InvalidJson) return refused(400, value.message)
    return saved(asked, tenants.setEnv(tenant.id, asked.params.name as string, value), () => json({ saved: true }))
  })

const deleteEnv: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenants, tenant }) => {
    const name = asked.params.name as string
    const removed = tenant.env.has(name)
    return saved(asked, tenants.setEnv(tenant.id, name, undefined), () => json({ removed }))
  })

const summary = ({ id, prefix, keyspace }: Tenant) => ({ id, prefix, entries: keyspace.size, bytes: keyspace.bytes })

/** Values of its environment may be secrets: their names are shown. */
const shown = (tenant: Tenant) => {
  const { hits, misses, writes, expires, evictions } = tenant.keyspace.stats
  return {
    ...summary(tenant),
    version: tenant.version,
    createdAtMs: tenant.createdAtMs,
    updatedAtMs: tenant.updatedAtMs,
    isSaved: tenant.isSaved,
    hasToken: tenant.tokenHash !== null,
    env: [...tenant.env.keys()],
    ...{ hits, misses, writes, expires, evictions },
    limits: tenant.limits
  }
}

// Keys

const getKey: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenant }) => {
    const { keyspace } = tenant
    const key = asked.params.key as string
    const value = keyspace.get(toBytes(key))
    if (value === undefined) return refused(404, `there is no key '${brief(key)}'`)
    const expiresAtMs = keyspace.peek(toBytes(key))?.expiresAtMs ?? 0
    const deadline = expiresAtMs === 0 ? "null" : String(expiresAtMs)
    return Effect.succeed(
      jsonText(`{"key":${JSON.stringify(key)},"value":${toExactJson(value)},"expiresAtMs":${deadline}}`)
    )
  })

const putKey: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenant }) => {
    const { keyspace } = tenant
    const { nowMs = Date.now } = views
    const value = fromJson(asked.body)
    if (value instanceof InvalidJson) return refused(400, value.message)
    const ttl = asked.search.get("ttl")
    const ttlMs = ttl === null ? null : ttlMsOf(Number(ttl))
    if (ttlMs === undefined) {
      return refused(400, `ttl is a number of seconds above 0, up to ${ttlSecondsMax}, not '${brief(ttl as string)}'`)
    }
    const expiresAtMs = ttlMs === null ? 0 : nowMs() + ttlMs
    const isStored = keyspace.set(toBytes(asked.params.key as string), value, expiresAtMs)
    if (isStored) return done({ stored: true })
    if (keyspace.refusal !== null) return refused(409, `rejected: ${asText(keyspace.refusal)}`)
    return refused(
      413,
      `the entry is larger than the ${keyspace.maxBytes} bytes that this tenant may hold in all; ${raisedByRequest(tenant.id, "maxBytes")}`
    )
  })

const deleteKey: TenantRoute["run"] = (views, asked) =>
  withTenant(views, asked, ({ tenant }) => {
    const { keyspace } = tenant
    const removed = keyspace.delete(toBytes(asked.params.key as string))
    return keyspace.refusal === null ? done({ removed }) : refused(409, `rejected: ${asText(keyspace.refusal)}`)
  })

// Scripts

const listScripts: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) => done(scripts.list(tenant.id).map(infoOf)))

const getScript: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) => {
    const name = asked.params.name as string
    const info = scripts.info(tenant.id, name)
    if (info === undefined) return refused(404, `there is no script '${brief(name)}'`)
    return done({ ...infoOf(info), source: asText(info.source) })
  })

const infoOf = ({ name, version, updatedAtMs, bytes, functions, error }: ScriptInfo) => ({
  ...{ name, version, updatedAtMs, bytes, functions, error }
})

const putScript: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) => {
    const body = asked.isJson ? objectOf(asked.body, ["source"]) : { source: asked.body }
    if (typeof body === "string") return refused(400, body)
    if (typeof body.source !== "string") return refused(400, "source is a text")
    const setting = scripts.set(tenant.id, asked.params.name as string, toBytes(body.source))
    return saved(asked, setting, (info) => json(infoOf(info)))
  })

const deleteScript: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) =>
    saved(asked, scripts.remove(tenant.id, asked.params.name as string), (removed) => json({ removed }))
  )

const runScript: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) =>
    runOf(asked, ["function", "args", "seed"], ({ entry, args, seed }) =>
      scripts.run(tenant.id, asked.params.name as string, entry, args, seed)
    )
  )

const runSource: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) =>
    runOf(asked, ["source", "function", "args", "seed"], ({ source, entry, args, seed }) =>
      scripts.evaluate(tenant.id, source, entry, args, seed)
    )
  )

interface Call {
  readonly source: string
  readonly entry: string
  readonly args: readonly Value[]
  readonly seed: number | undefined
}

/** Runs what the body says, of which `known` are the fields. */
const runOf = (
  asked: Asked,
  known: readonly string[],
  run: (call: Call) => RunOutcome | Running
): Effect.Effect<Response> => {
  const body = exactObjectOf(asked.body, known)
  if (typeof body === "string") return refused(400, body)
  const { source = "", function: entry = "main", args = [], seed } = body
  if (known.includes("source") && (typeof source !== "string" || body.source === undefined)) {
    return refused(400, "give source, the script's text")
  }
  if (typeof entry !== "string") return refused(400, "function is the name of one")
  if (!Array.isArray(args)) return refused(400, "args is a list of values")
  if (seed !== undefined && typeof seed !== "number") return refused(400, "seed is a whole number")
  const values = (args as readonly Nested[]).map(fromNested)
  const call = { source: toBytes(source as string), entry: toBytes(entry), args: values, seed }
  return outcome(
    asked,
    ended(() => run(call)),
    (value) => jsonText(`{"result":${toExactJson(value)}}`)
  )
}

/** What a run gives; an interruption ends it. */
const ended = (begin: () => RunOutcome | Running): Effect.Effect<Value, unknown> =>
  Effect.async((resume) => {
    const settle = ({ value, error }: RunOutcome) =>
      resume(value === undefined ? Effect.fail(error) : Effect.succeed(value))
    const begun = begin()
    if (!isRunning(begun)) return settle(begun)
    begun.outcome.then(settle)
    return Effect.sync(() => begun.end())
  })

const getLog: TenantRoute["run"] = (views, asked) =>
  withScripts(views, asked, ({ scripts, tenant }) => {
    const which = linesAskedFor(asked.search)
    return typeof which === "string" ? refused(400, which) : done({ lines: scripts.log(tenant.id, which) })
  })

// What they share

interface OfTenant {
  readonly tenants: TenantPort
  readonly tenant: Tenant
}

/** Answers 404 where an operator names no tenant; who asks as one has been checked to name itself. */
export const withTenant = (
  { tenants }: TenantViews,
  asked: Asked,
  answer: (given: OfTenant) => Effect.Effect<Response>
): Effect.Effect<Response> => {
  if (tenants === undefined) return refused(503, noTenants)
  const id = asked.params.tenant as string
  const tenant = asked.tenant ?? tenants.get(id)
  return tenant === undefined ? refused(404, `no tenant has the id '${brief(id)}'`) : answer({ tenants, tenant })
}

const withScripts = (
  views: TenantViews,
  asked: Asked,
  answer: (given: OfTenant & { readonly scripts: ScriptPort }) => Effect.Effect<Response>
): Effect.Effect<Response> =>
  withTenant(views, asked, (given) => {
    const { scripts } = views
    return scripts === undefined ? refused(503, "this server runs no scripts") : answer({ ...given, scripts })
  })

const noTenants = RespError.noTenants.slice("ERR tenant: ".length)

const done = (value: unknown): Effect.Effect<Response> => Effect.succeed(json(value))

const refused = (status: number, error: string): Effect.Effect<Response> => Effect.succeed(refusal(status, error))

/** What a promise of an engine comes to. */
export const saved = <A>(asked: Asked, promise: Promise<A>, answer: (value: A) => Response): Effect.Effect<Response> =>
  outcome(asked, Effect.tryPromise({ try: () => promise, catch: (error) => error }), answer)

/** What is no refusal of an engine is a defect, which the operator's log has. */
const outcome = <A>(
  { tenant, params }: Asked,
  asked: Effect.Effect<A, unknown>,
  answer: (value: A) => Response
): Effect.Effect<Response> =>
  Effect.matchEffect(asked, {
    onSuccess: (value) => Effect.succeed(answer(value)),
    onFailure: (error) => {
      const response = failure(error, tenant !== null, params.tenant)
      return response === undefined ? Effect.die(error) : Effect.succeed(response)
    }
  })

/** The fields of a body in the exact form, in which `known` may be; or what is wrong with it. */
const exactObjectOf = (body: string, known: readonly string[]): ValueObject | string => {
  const value = parseJson(body, 2) // arguments stand in a list in an object, and may be as deep as any value
  return value instanceof InvalidJson ? value.message : (fieldsOf(value, known) as ValueObject | string)
}

const isThere = ({ tenants }: TenantViews): boolean => tenants !== undefined

const script = "/v1/tenants/:tenant/scripts/:name"
const key = "/v1/tenants/:tenant/keys/:key"
const env = "/v1/tenants/:tenant/env/:name"
const aCall = '{"function":"main","args":[1,"a"]}'
const aSource = "function main(...) return ... end"
const forOperators = { access: "operator", isThere } as const
const forTenants = { access: "tenant", isThere } as const

export const tenantRoutes: readonly TenantRoute[] = [
  {
    ...{ method: "GET", path: "/v1/tenants", ...forOperators, run: listTenants },
    summary: "The tenants.",
    answers: "a list of objects with id, prefix, entries and bytes."
  },
  {
    ...{ method: "GET", path: "/v1/tenants/:tenant", ...forTenants, run: getTenant },
    summary: "All about a tenant but the values of its environment.",
    answers: "its figures, names of its environment, and limits."
  },
  {
    ...{ method: "PUT", path: "/v1/tenants/:tenant", ...forOperators, run: putTenant },
    summary: "Makes a tenant, or changes limits of the one that is there.",
    body: { type: "json", isOptional: true, example: '{"prefix":"tenant_123","limits":{"maxEntries":1000}}' },
    answers: "the tenant; with 201 where it is new."
  },
  {
    ...{ method: "DELETE", path: "/v1/tenants/:tenant", ...forOperators, run: deleteTenant },
    summary: "Removes a tenant with its keys, triggers and scripts, and closes its connections.",
    answers: "whether it was there."
  },
  {
    ...{ method: "POST", path: "/v1/tenants/:tenant/token", ...forOperators, run: postToken },
    summary: "A new token by which the tenant logs in; the one before is void, and its connections are closed.",
    body: { type: "json", isOptional: true, example: "{}" },
    answers: "the token, which is shown this once."
  },
  {
    ...{ method: "DELETE", path: "/v1/tenants/:tenant/token", ...forOperators, run: deleteToken },
    summary: "Makes the tenant's token void, and closes the connections that logged in by it.",
    answers: "whether there was one."
  },
  {
    ...{ method: "PUT", path: env, ...forOperators, run: putEnv },
    summary: "A value that the tenant's scripts find as a global of this name.",
    body: { type: "json", example: '"a secret"' },
    answers: "that it is saved."
  },
  {
    ...{ method: "DELETE", path: env, ...forOperators, run: deleteEnv },
    summary: "Takes such a value away.",
    answers: "whether it was there."
  },
  {
    ...{ method: "GET", path: key, ...forTenants, run: getKey },
    summary: "The value of a key.",
    answers: "key, value and expiresAtMs, which is null for a key without a deadline."
  },
  {
    ...{ method: "PUT", path: key, ...forTenants, run: putKey },
    summary: "Stores a value.",
    query: { ttl: "seconds that it lives, fractions allowed; for ever when left out" },
    body: { type: "json", example: '{"plan":"basic","seats":3}' },
    answers: "that it is stored."
  },
  {
    ...{ method: "DELETE", path: key, ...forTenants, run: deleteKey },
    summary: "Deletes a key.",
    answers: "whether it was there."
  },
  {
    ...{ method: "GET", path: "/v1/tenants/:tenant/scripts", ...forTenants, run: listScripts },
    summary: "The tenant's scripts.",
    answers: "a list of objects with name, version, updatedAtMs, bytes, functions and error."
  },
  {
    ...{ method: "GET", path: script, ...forTenants, run: getScript },
    summary: "A script with its source.",
    answers: "what the list has of it, and source."
  },
  {
    ...{ method: "PUT", path: script, ...forTenants, run: putScript },
    summary: "Compiles and keeps a script, in the place of the one of that name.",
    body: { type: "lua", example: aSource },
    answers: "what the list has of it."
  },
  {
    ...{ method: "DELETE", path: script, ...forTenants, run: deleteScript },
    summary: "Removes a script.",
    answers: "whether it was there."
  },
  {
    ...{ method: "POST", path: `${script}/run`, ...forTenants, run: runScript, waits: true },
    summary: "Runs a function of a script; main, where none is named. The run ends when the connection is closed.",
    body: { type: "json", example: aCall },
    answers: "the result."
  },
  {
    ...{ method: "POST", path: "/v1/tenants/:tenant/run", ...forTenants, run: runSource, waits: true },
    summary: "Runs a function of a source that is not kept.",
    body: { type: "json", example: JSON.stringify({ source: aSource, args: [1] }) },
    answers: "the result."
  },
  {
    ...{ method: "GET", path: "/v1/tenants/:tenant/log", ...forTenants, run: getLog },
    summary: "What the tenant's scripts have printed and failed with, oldest first.",
    query: { after: "the number behind which to begin", count: "lines at most" },
    answers: "lines, each with number, atMs, script, kind and text."
  }
]
