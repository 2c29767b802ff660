/**
 * What operators and their machines ask over HTTP: does it live, is it ready, how is it doing, what would a trigger do.
 *
 * | request | answer |
 * |---|---|
 * | `GET /healthz` | 200 when the process answers at all |
 * | `GET /readyz` | 200 when every listener accepts connections; else 503, and which do not |
 * | `GET /metrics` | all metrics, in the text format of Prometheus |
 * | `GET /v1/processes` | the supervision tree as JSON; `?format=text` for people |
 * | `GET /v1/triggers` | the triggers with their figures |
 * | `GET /v1/triggers/graph` | what they watch, read and write, and where they go round in circles |
 * | `POST /v1/triggers/test` | what a trigger or a source would do, on a made-up event or on the last ones (HttpTriggers.ts) |
 * | `GET /v1/logs`, `GET /v1/logs/<stream>?after=&count=` | what triggers have logged |
 *
 * Nothing here changes anything. Where there is a password, all but `/healthz` ask for it, as
 * `Authorization: Bearer <password>` or as Basic with any user. What it shows is handed in (`HttpViews`), so that it knows
 * neither the cache nor the program around it.
 */
import { createHash, timingSafeEqual } from "node:crypto"
import * as Headers from "@effect/platform/Headers"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Cause, Context, Effect } from "effect"
import { Supervisor } from "../actor/index.ts"
import { MetricRegistry } from "../telemetry/index.ts"
import * as HttpTriggers from "./HttpTriggers.ts"
import type { Readiness } from "./Readiness.ts"

export interface HttpViews {
  readonly readiness: Pick<Readiness, "missing">
  readonly metrics: Pick<MetricRegistry, "render">
  /** The tree as it is now; null when there is none. */
  readonly processes: () => Supervisor.TreeNode | null
  /** The engine; it is asked nothing that changes anything. */
  readonly triggers: HttpTriggers.HttpTriggers
  /** What has to be said; undefined lets everybody in. */
  readonly password: string | undefined
}

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

/** One path: the method that it is asked with (HEAD goes with GET), and what is answered. */
interface Page {
  readonly method: "GET" | "POST"
  readonly answer: (asked: Asked) => Effect.Effect<Response>
}

interface Asked {
  readonly search: URLSearchParams
  /** What stands in the path where the page's has a `:name`, decoded. */
  readonly params: Readonly<Record<string, string | undefined>>
  /** Empty where the method is GET. */
  readonly body: string
}

/** The body of the request that is being answered, for whoever takes one; the listener supplies it. */
export class RequestBody extends Context.Tag("mimosa-cache/server/HttpApi/RequestBody")<
  RequestBody,
  { readonly read: (bytesMax: number) => Effect.Effect<Uint8Array, "too long" | "broken off"> }
>() {}

/** The application over these views: answers every request, never fails. */
export const make = (views: HttpViews): Effect.Effect<Response, never, Request | RequestBody> => {
  const { triggers } = views
  const get = (answer: Page["answer"]): Page => ({ method: "GET", answer })
  const pages: Readonly<Record<`/${string}`, Page>> = {
    "/healthz": get(() => json({ status: "ok" })),
    "/readyz": get(() => {
      const missing = views.readiness.missing()
      return missing.length === 0 ? json({ status: "ready" }) : json({ status: "not ready", missing }, 503)
    }),
    "/metrics": get(() => HttpServerResponse.text(views.metrics.render(), { contentType: MetricRegistry.contentType })),
    "/v1/processes": get(({ search }) => processes(views.processes(), search.get("format") ?? "json")),
    "/v1/triggers": get(() => Effect.map(HttpTriggers.list(triggers), answered)),
    "/v1/triggers/graph": get(() => answered(HttpTriggers.graph(triggers))),
    [testPath]: { method: "POST", answer: ({ body }) => answered(HttpTriggers.test(triggers, body)) },
    "/v1/logs": get(() => answered(HttpTriggers.streams(triggers))),
    "/v1/logs/:stream": get(({ params, search }) => answered(HttpTriggers.lines(triggers, params.stream ?? "", search)))
  }
  let router: HttpRouter.HttpRouter<never, RequestBody> = HttpRouter.empty
  for (const [path, page] of Object.entries(pages)) {
    // All methods in one place: the router would call a wrong method an unknown path.
    router = HttpRouter.all(router, path as `/${string}`, show(page))
  }
  const isAllowed = checkOf(views.password)
  const response = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    pathOf(request) === "/healthz" || isAllowed(request) ? Effect.scoped(router) : Effect.succeed(unauthorized)
  )
  const paths = Object.keys(pages).map((path) => path.replace(/:(\w+)/, "<$1>"))
  return response.pipe(
    Effect.catchTag("RouteNotFound", ({ request }) =>
      Effect.succeed(refusal(404, `no such path: ${shownPathOf(request)}; there are ${paths.join(", ")}`))
    ),
    Effect.catchAllCause((cause) =>
      Effect.as(Effect.logError("an HTTP request failed", Cause.pretty(cause)), refusal(500, "an internal error"))
    )
  )
}

const testPath = "/v1/triggers/test"

/** The bytes that the body of such a request may have. */
export const bodyBytesMaxOf = (method: string, path: string): number =>
  method === "POST" && path === testPath ? bodyBytesMax : 0

const bodyBytesMax = 256 * 1024 // the largest source with all its quotes escaped, and the values of an event

const show = ({ method, answer }: Page) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const isRight = request.method === method || (request.method === "HEAD" && method === "GET")
    if (!isRight) {
      const allowed = HttpServerResponse.setHeader("allow", method === "GET" ? "GET, HEAD" : method)
      return allowed(refusal(405, `${request.method} is not allowed on ${shownPathOf(request)}; use ${method}`))
    }
    const body = method === "GET" ? "" : yield* Effect.merge(bodyOf(request))
    if (typeof body !== "string") return body
    const { params } = yield* HttpRouter.RouteContext
    return yield* answer({ search: new URLSearchParams(request.url.slice(pathOf(request).length)), params, body })
  })

/** The body as text. It has to say that it is JSON: then a page in a browser, which may not, cannot send it unnoticed. */
const bodyOf = (request: Request): Effect.Effect<string, Response, RequestBody> => {
  if (!/^application\/json *(;|$)/i.test(request.headers["content-type"] ?? "")) {
    return Effect.fail(refusal(415, "the body is JSON: send it with content-type: application/json"))
  }
  return Effect.flatMap(RequestBody, ({ read }) => read(bodyBytesMax)).pipe(
    Effect.mapError((problem) =>
      problem === "too long"
        ? refusal(413, `a body has at most ${bodyBytesMax} bytes`)
        : refusal(400, "the body broke off")
    ),
    Effect.flatMap((bytes) =>
      Effect.try({ try: () => utf8.decode(bytes), catch: () => refusal(400, "the body is not UTF-8") })
    )
  )
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

const processes = (tree: Supervisor.TreeNode | null, format: string): Response => {
  if (format !== "json" && format !== "text") return refusal(400, `format is json or text, not ${format.slice(0, 40)}`)
  if (tree === null) return refusal(503, "no process is running")
  return format === "json"
    ? json(tree)
    : HttpServerResponse.text(`${Supervisor.format(tree)}\n`, { contentType: "text/plain; charset=utf-8" })
}

/** Whether a request says the password. Digests are compared, so that the time tells nothing of how near a guess was. */
const checkOf = (password: string | undefined): ((request: Request) => boolean) => {
  if (password === undefined) return () => true
  const wanted = digest(Buffer.from(password))
  return ({ headers }) => {
    const [, scheme = "", credentials = ""] = /^(\S+) +(.*)$/.exec(headers.authorization ?? "") ?? []
    const said = saidBy(scheme.toLowerCase(), credentials)
    return said !== undefined && timingSafeEqual(digest(said), wanted)
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

const answered = ({ status, json }: HttpTriggers.Answer): Response => {
  const response = HttpServerResponse.text(json, { status, contentType: "application/json" })
  return status === 200 ? response : HttpServerResponse.setHeader(response, "connection", "close")
}

const json = (value: unknown, status = 200): Response => HttpServerResponse.unsafeJson(value, { status })

/** A refused request's connection is closed: whoever asks like that is not worth holding one for. */
const refusal = (status: number, error: string): Response =>
  HttpServerResponse.unsafeJson({ error }, { status, headers: Headers.fromInput({ connection: "close" }) })

const unauthorized: Response = HttpServerResponse.setHeader(
  refusal(401, "the server has a password: send Authorization: Bearer <password>, or Basic with any user"),
  "www-authenticate",
  'Basic realm="mimosa"'
)

const pathOf = ({ url }: Request): string => url.split("?", 1)[0] as string

const shownPathOf = (request: Request): string => pathOf(request).slice(0, 100)
