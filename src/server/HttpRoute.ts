/**
 * The HTTP API as data: one row says which request it is, who may make it, what it takes and what it answers, and what
 * serves it. What is served, the OpenAPI document and the page for people are read off these rows.
 */
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { Effect } from "effect"
import type { Tenant } from "../cache/Tenants.ts"

/** What answers a request. */
export type Response = HttpServerResponse.HttpServerResponse

/**
 * Who may make a request: `everybody`; `known`, operators and tenants; `tenant`, operators and the tenant that the path
 * names; `operator`.
 */
export type Access = "everybody" | "known" | "tenant" | "operator"

export type Method = "GET" | "POST" | "PUT" | "DELETE"

export interface Route<Views> {
  /** HEAD goes with GET. */
  readonly method: Method
  /** Segments that begin with a colon are parameters. */
  readonly path: `/${string}`
  readonly access: Access
  readonly summary: string
  /** Parameters behind the `?`, each with what it means. */
  readonly query?: Readonly<Record<string, string>>
  readonly body?: RouteBody
  /** What is answered when all is well, and as which type; JSON when left out. */
  readonly answers: string
  readonly type?: string
  /** It may answer much later than it was asked. */
  readonly waits?: boolean
  /** Absent where the route is always there. */
  readonly isThere?: (views: Views) => boolean
  readonly run: (views: Views, asked: Asked) => Effect.Effect<Response>
}

export interface RouteBody {
  /** `lua` is taken as it is, or as the `source` of a JSON object. */
  readonly type: "json" | "lua"
  readonly isOptional?: boolean
  /** What it says, as somebody would write it. */
  readonly example: string
}

export interface Asked {
  readonly search: URLSearchParams
  /** What stands in the path where the route's has a `:name`, decoded. */
  readonly params: Readonly<Record<string, string>>
  /** "" where there is none. */
  readonly body: string
  /** Whether the body says that it is JSON. */
  readonly isJson: boolean
  /** Who asks; null for an operator. */
  readonly tenant: Tenant | null
}

export interface Found<Views> {
  readonly route: Route<Views>
  readonly params: Readonly<Record<string, string>>
}

/**
 * The routes of a path, one a method. Parameters are not empty, and may hold anything that can be escaped. O(routes).
 */
export const routesOf = <Views>(routes: readonly Route<Views>[], path: string): Found<Views>[] => {
  const segments = path.split("/")
  const found: Found<Views>[] = []
  for (const route of routes) {
    const params = matched(route.path, segments)
    if (params !== undefined) found.push({ route, params })
  }
  // What is named goes before what a parameter stands for: /v1/triggers/graph is no trigger.
  const fewest = Math.min(...found.map(paramCount))
  return found.filter((each) => paramCount(each) === fewest)
}

const paramCount = ({ params }: Found<never>): number => Object.keys(params).length

const matched = (path: string, segments: readonly string[]): Record<string, string> | undefined => {
  const wanted = path.split("/")
  if (wanted.length !== segments.length) return undefined
  const params: Record<string, string> = {}
  for (const [at, segment] of wanted.entries()) {
    const given = decodeURIComponent(segments[at] as string) // the listener has refused what cannot be decoded
    if (segment.startsWith(":") && given !== "") params[segment.slice(1)] = given
    else if (segment !== given) return undefined
  }
  return params
}

/** The bytes that the body of such a request may have; 0 for one that takes none. */
export const bodyBytesMaxOf = (routes: readonly Route<never>[], method: string, path: string): number =>
  routesOf(routes, path).some(({ route }) => route.method === method && route.body !== undefined) ? bodyBytesMax : 0

export const bodyBytesMax = 256 * 1024 // the largest source with all its quotes escaped, and the values of an event
