/**
 * What operators and their machines ask over HTTP, and tenants of what is their own: does it live, is it ready, how is it
 * doing; triggers and their logs (HttpTriggerRoutes.ts); tenants, scripts and keys (HttpTenants.ts). The rows below and
 * there are the whole of it; `/docs` shows them to people, and `/v1/openapi.json` to machines.
 *
 * Where there is a password, all but `/healthz` and `/readyz`, which are for health checks, ask for it, as
 * `Authorization: Bearer <password>` or as Basic with any user: who says it is an operator. A tenant says its token,
 * `Authorization: Bearer mt_…`, and may ask what names it in its path; of any other path it hears the same whether there
 * is such a tenant or not. What is shown is handed in (`HttpViews`), so that this knows nothing of the program around
 * it.
 */
import { createHash, timingSafeEqual } from "node:crypto"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Cause, Context, Effect } from "effect"
import { Supervisor } from "../actor/index.ts"
import { tokenHead } from "../cache/TenantRegistry.ts"
import type { Tenant } from "../cache/Tenants.ts"
import { toBytes } from "../cache/Values.ts"
import { samplesDefault, samplesMax } from "../coherence/index.ts"
import { MetricRegistry } from "../telemetry/index.ts"
import type { CoherencePort } from "./commands/CoherencePort.ts"
import { json, refusal } from "./HttpAnswer.ts"
import * as HttpDocs from "./HttpDocs.ts"
import { brief } from "./HttpInput.ts"
import * as HttpRoute from "./HttpRoute.ts"
import { tenantRoutes } from "./HttpTenants.ts"
import { type TriggerViews, triggerRoutes } from "./HttpTriggerRoutes.ts"
import type { Readiness } from "./Readiness.ts"

export interface HttpViews extends TriggerViews {
  readonly readiness: Pick<Readiness, "missing">
  readonly metrics: Pick<MetricRegistry, "render">
  /** The tree as it is now; null when there is none. */
  readonly processes: () => Supervisor.TreeNode | null
  /** Who shares these keys; absent where they are shared with nobody. */
  readonly coherence?: Pick<CoherencePort, "status" | "trace" | "examine"> | undefined
  /** What operators have to say; undefined lets everybody in. */
  readonly password: string | undefined
}

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpRoute.Response
type Route = HttpRoute.Route<HttpViews>

/** What the listener has of the request that is being answered. */
export class Exchange extends Context.Tag("mimosa-cache/server/HttpApi/Exchange")<
  Exchange,
  {
    readonly readBody: (bytesMax: number) => Effect.Effect<Uint8Array, "too long" | "broken off">
    /** Counts it as the tenant's; or says why that is one too many. */
    readonly admit: (tenant: Tenant) => string | undefined
  }
>() {}

const forOperators = { method: "GET", access: "operator" } as const

const routes: readonly Route[] = [
  {
    ...{ method: "GET", path: "/healthz", access: "everybody" },
    summary: "Whether the process answers at all.",
    answers: "that it does.",
    run: () => Effect.succeed(json({ status: "ok" }))
  },
  {
    ...{ method: "GET", path: "/readyz", access: "everybody" },
    summary: "Whether every listener accepts connections.",
    answers: "that they do; else 503, and that not all do.",
    run: ({ readiness }) =>
      Effect.sync(() =>
        readiness.missing().length === 0 ? json({ status: "ready" }) : json({ status: "not ready" }, 503)
      )
  },
  {
    ...{ ...forOperators, path: "/metrics" },
    summary: "All metrics.",
    answers: "the text format of Prometheus.",
    type: "text/plain",
    run: ({ metrics }) =>
      Effect.sync(() => HttpServerResponse.text(metrics.render(), { contentType: MetricRegistry.contentType }))
  },
  {
    ...{ ...forOperators, path: "/v1/processes" },
    summary: "The supervision tree.",
    query: { format: "json, or text for people" },
    answers: "the root with its children.",
    run: (views, { search }) => Effect.sync(() => processes(views.processes(), search.get("format") ?? "json"))
  },
  {
    ...{ ...forOperators, path: "/v1/coherence" },
    summary: "The instances that share these keys: how this one stands, and how far each has come.",
    answers: "the status with its members.",
    isThere: ({ coherence }) => coherence !== undefined,
    run: ({ coherence }) => Effect.sync(() => json(coherence?.status()))
  },
  {
    ...{ ...forOperators, path: "/v1/coherence/trace" },
    summary: "What is known of a key: the entry here, who wrote it last, who would be asked for it.",
    query: { key: "as it is displayed" },
    answers: "sentences.",
    isThere: ({ coherence }) => coherence !== undefined,
    run: ({ coherence }, { search }) => {
      const key = search.get("key")
      if (key === null) return Effect.succeed(refusal(400, "say which key: ?key=user:42"))
      return Effect.sync(() => json({ key, lines: coherence?.trace(toBytes(key)) }))
    }
  },
  {
    ...{ ...forOperators, path: "/v1/coherence/doctor" },
    summary:
      "Compares entries at random with what the other instances know of them; what is suspected, for 11 seconds.",
    query: { samples: `how many entries, to ${samplesMax}; ${samplesDefault} when left out` },
    answers: "what is stale and why, and what the sample says of 10^9 reads; 409 while another one is under way.",
    waits: true,
    isThere: ({ coherence }) => coherence !== undefined,
    run: ({ coherence }, { search }) => {
      const samples = Number(search.get("samples") ?? samplesDefault)
      if (!(Number.isInteger(samples) && samples >= 1 && samples <= samplesMax)) {
        return Effect.succeed(refusal(400, `samples is a whole number from 1 to ${samplesMax}`))
      }
      return Effect.map(
        Effect.promise(async () => coherence?.examine(samples)),
        (diagnosis) => (diagnosis === "busy" ? refusal(409, "an examination is under way") : json(diagnosis))
      )
    }
  },
  ...triggerRoutes,
  ...tenantRoutes,
  {
    ...{ method: "GET", path: "/v1/openapi.json", access: "known" },
    summary: "This API as an OpenAPI document.",
    answers: "the document.",
    run: (views) => Effect.sync(() => json(HttpDocs.openApi(thereFor(views))))
  },
  {
    ...{ method: "GET", path: "/docs", access: "known" },
    summary: "This API as a page for people.",
    answers: "the page.",
    type: "text/html",
    run: (views) => Effect.sync(() => docs(HttpDocs.page(thereFor(views))))
  }
]

const thereFor = (views: HttpViews): readonly Route[] => routes.filter(({ isThere = () => true }) => isThere(views))

/** The application over these views: answers every request, never fails. */
export const make = (views: HttpViews): Effect.Effect<Response, never, Request | Exchange> => {
  const served = thereFor(views)
  const paths = [...new Set(served.map(({ path }) => path.replace(/:(\w+)/g, "<$1>")))]
  const whoAsks = identityOf(views)
  const response = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request): Answering => {
    const found = HttpRoute.routesOf(served, pathOf(request))
    const isOpen = found.some(({ route }) => route.access === "everybody")
    const identity = isOpen ? null : whoAsks(request)
    if (identity === undefined) return Effect.succeed(unauthorized)
    if (found.length === 0) {
      return Effect.succeed(refusal(404, `no such path: ${shownPathOf(request)}; there are ${paths.join(", ")}`))
    }
    const chosen = found.find(({ route }) => route.method === (request.method === "HEAD" ? "GET" : request.method))
    if (chosen === undefined) return Effect.succeed(wrongMethod(request, found))
    const { route, params } = chosen
    if (identity !== null && !mayAsk(identity, route, params)) return Effect.succeed(forbidden)
    const answering = show(views, route, params, request, identity)
    return identity === null ? answering : withinShare(identity, answering)
  })
  return Effect.catchAllCause(response, (cause) =>
    Effect.as(Effect.logError("an HTTP request failed", Cause.pretty(cause)), refusal(500, "an internal error"))
  )
}

type Answering = Effect.Effect<Response, never, Exchange>

/** Answers as long as the tenant has not too much that is being answered. */
const withinShare = (tenant: Tenant, answering: Answering): Answering =>
  Effect.flatMap(Exchange, ({ admit }) => {
    const why = admit(tenant)
    if (why === undefined) return answering
    return Effect.succeed(
      HttpServerResponse.setHeader(refusal(429, why, { code: "TooManyRequests" }), "retry-after", "1")
    )
  })

/** The bytes that the body of such a request may have. */
export const bodyBytesMaxOf = (method: string, path: string): number => HttpRoute.bodyBytesMaxOf(routes, method, path)

/** Whether such a request may be answered much later. */
export const mayWait = (method: string, path: string): boolean =>
  HttpRoute.routesOf(routes, path).some(({ route }) => route.method === method && route.waits === true)

const show = (
  views: HttpViews,
  route: Route,
  params: Readonly<Record<string, string>>,
  request: Request,
  tenant: Tenant | null
): Answering => {
  const isJson = /^application\/json *(;|$)/i.test(request.headers["content-type"] ?? "")
  const search = new URLSearchParams(request.url.slice(pathOf(request).length))
  const answer = (body: string) => route.run(views, { search, params, body, isJson, tenant })
  if (route.body === undefined) return answer("")
  // Then a page in a browser, which may not say that it is JSON, cannot send it unnoticed; nor may it PUT.
  if (!isJson && route.method === "POST") return Effect.succeed(notJson)
  return Effect.flatMap(Effect.either(readBody), (read) => {
    if (read._tag === "Left") return Effect.succeed(read.left)
    const isMissing = read.right === "" && route.body?.isOptional === true
    if (!isJson && !isMissing && route.body?.type === "json") return Effect.succeed(notJson)
    return answer(read.right)
  })
}

const notJson: Response = refusal(415, "the body is JSON: send it with content-type: application/json")

/** The body as text. */
const readBody: Effect.Effect<string, Response, Exchange> = Effect.flatMap(Exchange, ({ readBody }) =>
  readBody(HttpRoute.bodyBytesMax)
).pipe(
  Effect.mapError((problem) =>
    problem === "too long"
      ? refusal(413, `a body has at most ${HttpRoute.bodyBytesMax} bytes`)
      : refusal(400, "the body broke off")
  ),
  Effect.flatMap((bytes) =>
    Effect.try({ try: () => utf8.decode(bytes), catch: () => refusal(400, "the body is not UTF-8") })
  )
)

const wrongMethod = (request: Request, found: readonly HttpRoute.Found<HttpViews>[]): Response => {
  const methods = found.map(({ route }) => route.method)
  const allowed = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]))
  const error = `${request.method} is not allowed on ${shownPathOf(request)}; use ${methods.join(" or ")}`
  return HttpServerResponse.setHeader(refusal(405, error), "allow", allowed.join(", "))
}

/** A path of another tenant is forbidden whether there is such a one or not. */
const mayAsk = (tenant: Tenant, { access }: Route, params: Readonly<Record<string, string>>): boolean =>
  access === "known" || access === "everybody" || (access === "tenant" && params.tenant === tenant.id)

const forbidden: Response = refusal(
  403,
  "a tenant's token opens what is the tenant's own, below /v1/tenants/<its id>; this is for operators, or another's"
)

/** Nothing that is no part of the page is loaded or run. */
const docs = (page: string): Response =>
  HttpServerResponse.setHeader(
    HttpServerResponse.text(page, { contentType: "text/html; charset=utf-8" }),
    "content-security-policy",
    "default-src 'none'; style-src 'unsafe-inline'"
  )

const utf8 = new TextDecoder("utf-8", { fatal: true })

const processes = (tree: Supervisor.TreeNode | null, format: string): Response => {
  if (format !== "json" && format !== "text") return refusal(400, `format is json or text, not ${brief(format)}`)
  if (tree === null) return refusal(503, "no process is running")
  return format === "json"
    ? json(tree)
    : HttpServerResponse.text(`${Supervisor.format(tree)}\n`, { contentType: "text/plain; charset=utf-8" })
}

/**
 * Who makes a request: the tenant whose token it says, an operator (null), or nobody who may (undefined). Digests are
 * compared, so that the time tells nothing of how near a guess was.
 */
const identityOf = ({ password, tenants }: HttpViews): ((request: Request) => Tenant | null | undefined) => {
  const wanted = password === undefined ? undefined : digest(Buffer.from(password))
  return ({ headers }) => {
    const [, scheme = "", credentials = ""] = /^(\S+) +(.*)$/.exec(headers.authorization ?? "") ?? []
    const said = saidBy(scheme.toLowerCase(), credentials)
    const tenant = said === undefined ? undefined : tenants?.byToken(said.toString("latin1"))
    if (tenant !== undefined) return tenant
    if (wanted !== undefined) return said !== undefined && timingSafeEqual(digest(said), wanted) ? null : undefined
    // Who says a token that is void is no operator, though all others are.
    return tenants !== undefined && said?.toString("latin1", 0, tokenHead.length) === tokenHead ? undefined : null
  }
}

/** The bytes of the password that the header says. */
const saidBy = (scheme: string, credentials: string): Buffer | undefined => {
  if (scheme === "bearer") return Buffer.from(credentials, "latin1") // Node gives a header's bytes as latin1
  if (scheme !== "basic") return undefined
  const userAndPassword = Buffer.from(credentials, "base64")
  return userAndPassword.subarray(userAndPassword.indexOf(":") + 1)
}

const digest = (bytes: Buffer): Buffer => createHash("sha256").update(bytes).digest()

const unauthorized: Response = HttpServerResponse.setHeader(
  refusal(
    401,
    "the server has a password: send Authorization: Bearer <password>, or Basic with any user; a tenant sends its token"
  ),
  "www-authenticate",
  'Basic realm="mimosa"'
)

const pathOf = ({ url }: Request): string => url.split("?", 1)[0] as string

const shownPathOf = (request: Request): string => pathOf(request).slice(0, 100)
