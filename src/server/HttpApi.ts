/**
 * What operators and their machines ask over HTTP: does it live, is it ready, how is it doing.
 *
 * | path | answer |
 * |---|---|
 * | `/healthz` | 200 when the process answers at all |
 * | `/readyz` | 200 when every listener accepts connections; else 503, and which do not |
 * | `/metrics` | all metrics, in the text format of Prometheus |
 * | `/v1/processes` | the supervision tree as JSON; `?format=text` for people |
 *
 * Everything is read-only and has no body. What it shows is handed in (`HttpViews`), so that it knows neither the
 * cache nor the program around it.
 */
import * as Headers from "@effect/platform/Headers"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Cause, Effect } from "effect"
import { Supervisor } from "../actor/index.ts"
import { MetricRegistry } from "../telemetry/index.ts"
import type { Readiness } from "./Readiness.ts"

export interface HttpViews {
  readonly readiness: Pick<Readiness, "missing">
  readonly metrics: Pick<MetricRegistry, "render">
  /** The tree as it is now; null when there is none. */
  readonly processes: () => Supervisor.TreeNode | null
}

type Response = HttpServerResponse.HttpServerResponse

/** The application over these views: answers every request, never fails. */
export const make = (views: HttpViews) => {
  const pages: Readonly<Record<`/${string}`, (search: URLSearchParams) => Response>> = {
    "/healthz": () => json({ status: "ok" }),
    "/readyz": () => {
      const missing = views.readiness.missing()
      return missing.length === 0 ? json({ status: "ready" }) : json({ status: "not ready", missing }, 503)
    },
    "/metrics": () => HttpServerResponse.text(views.metrics.render(), { contentType: MetricRegistry.contentType }),
    "/v1/processes": (search) => processes(views.processes(), search.get("format") ?? "json")
  }
  let router: HttpRouter.HttpRouter = HttpRouter.empty
  for (const [path, page] of Object.entries(pages)) {
    // All methods in one place: the router would call a wrong method an unknown path.
    router = HttpRouter.all(router, path as `/${string}`, answer(page))
  }
  return router.pipe(
    Effect.catchTag("RouteNotFound", ({ request }) =>
      Effect.succeed(refusal(404, `no such path: ${pathOf(request)}; there are ${Object.keys(pages).join(", ")}`))
    ),
    Effect.catchAllCause((cause) =>
      Effect.as(Effect.logError("an HTTP request failed", Cause.pretty(cause)), refusal(500, "an internal error"))
    )
  )
}

const answer = (page: (search: URLSearchParams) => Response) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      const allowed = HttpServerResponse.setHeader("allow", "GET, HEAD")
      return allowed(refusal(405, `${request.method} is not allowed on ${pathOf(request)}; use GET`))
    }
    if (hasBody(request)) return refusal(413, "no request here takes a body")
    return page(new URL(request.url, "http://localhost").searchParams)
  })

const processes = (tree: Supervisor.TreeNode | null, format: string): Response => {
  if (format !== "json" && format !== "text") return refusal(400, `format is json or text, not ${format.slice(0, 40)}`)
  if (tree === null) return refusal(503, "no process is running")
  return format === "json"
    ? json(tree)
    : HttpServerResponse.text(`${Supervisor.format(tree)}\n`, { contentType: "text/plain; charset=utf-8" })
}

const json = (value: unknown, status = 200): Response => HttpServerResponse.unsafeJson(value, { status })

/** A refused request's connection is closed, so that nothing that was sent along is read. */
const refusal = (status: number, error: string): Response =>
  HttpServerResponse.unsafeJson({ error }, { status, headers: Headers.fromInput({ connection: "close" }) })

const hasBody = ({ headers }: HttpServerRequest.HttpServerRequest): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

const pathOf = (request: HttpServerRequest.HttpServerRequest): string =>
  (request.url.split("?", 1)[0] as string).slice(0, 100)
