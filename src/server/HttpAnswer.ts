/** Answers of the HTTP API: JSON, and errors as JSON objects with an `error`. */
import * as Headers from "@effect/platform/Headers"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { type Spelling, spellingOf } from "./EngineError.ts"
import type { Response } from "./HttpRoute.ts"
import { RespError } from "./RespError.ts"
import { limitMet, raisedByRequest } from "./TenantLimitWords.ts"

export const json = (value: unknown, status = 200): Response => HttpServerResponse.unsafeJson(value, { status })

/** JSON that has been written already. */
export const jsonText = (text: string, status = 200): Response =>
  HttpServerResponse.text(text, { status, contentType: "application/json" })

/** A refused request's connection is closed: whoever asks like that is not worth holding one for. */
export const refusal = (status: number, error: string, details: object = {}): Response =>
  HttpServerResponse.unsafeJson({ error, ...details }, { status, headers: Headers.fromInput({ connection: "close" }) })

/**
 * What an engine has refused, or failed with, as JSON: `error` its message, `code` its tag, and what it tells of the
 * script, the line and the limit; where it is a limit of the `tenant` that was asked about (its id), with how it is
 * raised. A tenant is not told what is for the operator. Undefined for what no engine says.
 */
export const failure = (error: unknown, isForTenant: boolean, tenant?: string): Response | undefined => {
  const spelling = spellingOf(error)
  if (spelling === undefined) return undefined
  if (isForTenant && spelling.isOperators === true) return json({ error: RespError.hidden.slice("ERR ".length) }, 500)
  const { _tag: code, message, ...fields } = error as { readonly _tag: string; readonly message: string }
  const shown: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) if (isShown(name, value)) shown[name] = value
  const limit = tenant === undefined ? undefined : limitMet(error)
  const hint = limit === undefined ? "" : `; ${raisedByRequest(tenant as string, limit)}`
  return withRetry(json({ error: message + hint, code, ...shown }, spelling.status), spelling, shown)
}

const isShown = (name: string, value: unknown): boolean =>
  name !== "cause" && name !== "stack" && (typeof value === "string" || typeof value === "number")

/** Seconds, rounded up, as RFC 9110 has them. */
const withRetry = (response: Response, { status }: Spelling, { retryAfterMs }: Record<string, unknown>): Response =>
  status === 429 && typeof retryAfterMs === "number"
    ? HttpServerResponse.setHeader(response, "retry-after", String(Math.ceil(retryAfterMs / 1000)))
    : response
