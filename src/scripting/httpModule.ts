/**
 * `http` as scripts see it: `http.request{ method, url, headers, body, timeout }` suspends the script, and answers
 * `{ success = true, data = { status, headers, body } }`, or `{ success = false, error = "why" }`.
 *
 * A request that could be made and was not answered, or that the operator does not allow, is an answer like any other:
 * the script goes on. So is one for which the run has no time to wait left: the request ends a little before the run
 * would. One that makes no sense (no URL, a header that is none) is a Lua error at the line that asked for it.
 */
import { toBytes, toJson } from "../cache/index.ts"
import type { HostCall, HostFunction, LuaValue } from "../sandbox/index.ts"
import { Refusal } from "../sandbox/index.ts"
import { HttpFailure, type HttpRequest, type HttpRequester, httpMethods, refusalOfHeader } from "./HttpRequester.ts"
import { pays } from "./LuaData.ts"
import type { Current } from "./ScriptRun.ts"

/** `requestsMax`: requests at once of all runs that are no tenant's. */
export const makeHttpModule = (
  current: Current,
  requester: HttpRequester,
  requestsMax: number
): Readonly<Record<"request", HostFunction>> => ({
  request(call) {
    if (!call.charge(requestFuel)) return
    const request = requestOf(call)
    if (request === undefined) return
    if (typeof request === "string") return call.fail(`http.request: ${request}`)
    const url = requester.permitted(request.url)
    if (url instanceof HttpFailure) return call.returnValue({ success: false, error: url.message })
    const { run } = current
    const tenant = run.tenant?.id ?? ""
    const limit = run.tenant?.limits.requestsMax ?? requestsMax
    run.wait((signal) => {
      const leftMs = Math.max(1, Math.floor(run.waitLeftMs()) - goOnMs)
      const isCut = request.timeoutMs > leftMs
      const asked = { ...request, url, timeoutMs: Math.min(request.timeoutMs, leftMs) }
      return requester.request(tenant, limit, asked, signal).then(
        ({ status, headers, body }): LuaValue => ({ success: true, data: { status, headers: asBytes(headers), body } }),
        (error: unknown): LuaValue => {
          if (!(error instanceof HttpFailure)) throw error
          const why = isCut && error.reason === "timeout" ? ` (the run may wait ${run.waitMs} ms: waitMs)` : ""
          return { success: false, error: `${error.message}${why}` }
        }
      )
    })
    call.wait()
  }
})

// Units of fuel, 250 a µs: a request takes the thread some 150 µs, however little is asked and answered.
const requestFuel = 40_000
const jsonFuel = 1 // a byte that `byteSize` counts, of a body that is sent as JSON

const goOnMs = 10 // ms that the run may still wait when its request ends: for its turn, to make something of it

const timeoutSecondsMax = 300
const bodyBytesMax = 1 << 20
const headersMax = 100

/** What a script asks for, where nobody has looked yet where it leads. */
type Asked = Omit<HttpRequest, "url"> & { readonly url: string }

/** What the call asks for, or why that is no request; undefined where the run cannot pay for it. */
const requestOf = (call: HostCall): Asked | string | undefined => {
  if (call.kind(1) !== "table") return 'takes a table: { url = "https://…", method = "GET", headers = {}, body = "" }'
  const given = call.value(1)
  if (given instanceof Refusal) return given.message
  if (!isTable(given)) return "its argument has keys that are no option's name"
  const unknown = Object.keys(given).find((name) => !options.has(name))
  if (unknown !== undefined) return `there is no option '${unknown.slice(0, 64)}'; there are ${[...options].join(", ")}`
  const { url, method = "GET", headers = noHeaders, body = null, timeout = timeoutSecondsMax } = given
  if (typeof url !== "string") return "url is to be a string"
  const verb = typeof method === "string" ? method.toUpperCase() : ""
  if (!httpMethods.includes(verb)) return `method is to be one of ${httpMethods.join(", ")}`
  const seconds = typeof timeout === "object" ? Number(timeout) : timeout
  if (typeof seconds !== "number" || !(seconds > 0 && seconds <= timeoutSecondsMax)) {
    return `timeout is to be a number of seconds above 0, at most ${timeoutSecondsMax}`
  }
  const sent = headersOf(headers)
  if (typeof sent === "string") return sent
  const isJson = body !== null && typeof body === "object" && !(body instanceof Uint8Array)
  if (isJson && !pays(call, body, jsonFuel)) return undefined
  const bytes = isJson ? Buffer.from(toJson(body)) : bytesOf(body)
  if (bytes === undefined) return "body is to be a string, or a table to be sent as JSON"
  if (bytes !== null && bytes.length > bodyBytesMax) return `body has ${bytes.length} bytes; at most ${bodyBytesMax}`
  const hasType = sent.some(([name]) => name.toLowerCase() === "content-type")
  if (isJson && !hasType) sent.push(["content-type", "application/json"])
  return { method: verb, url, headers: sent, body: bytes, timeoutMs: Math.ceil(seconds * 1000) }
}

const noHeaders: LuaValue = Object.create(null)
const options = new Set(["url", "method", "headers", "body", "timeout"])

const isTable = (value: LuaValue): value is { readonly [key: string]: LuaValue } =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.getPrototypeOf(value) === null

const headersOf = (given: LuaValue): Array<readonly [string, string]> | string => {
  if (!isTable(given)) return "headers is to be a table of names and values"
  const headers: Array<readonly [string, string]> = []
  const names = Object.keys(given)
  if (names.length > headersMax) return `at most ${headersMax} headers; there are ${names.length}`
  for (const name of names) {
    const value = given[name] as LuaValue
    const bytes = typeof value === "number" ? Buffer.from(String(value)) : bytesOf(value)
    if (bytes === undefined || bytes === null) return `the value of header ${name.slice(0, 64)} is to be a string`
    const text = Buffer.from(bytes).toString("latin1")
    const refusal = refusalOfHeader(name, text)
    if (refusal !== undefined) return refusal
    headers.push([name, text])
  }
  return headers
}

/** A string of Lua's as bytes; null for nil, undefined for anything else. */
const bytesOf = (value: LuaValue): Uint8Array | null | undefined =>
  value === null
    ? null
    : typeof value === "string"
      ? Buffer.from(value)
      : value instanceof Uint8Array
        ? value
        : undefined

/** Header values are bytes, which Node hands out as latin1; Lua is to have those bytes. */
const asBytes = (headers: Readonly<Record<string, string>>): LuaValue => {
  const all: Record<string, LuaValue> = Object.create(null)
  for (const [name, value] of Object.entries(headers)) {
    all[name] = toBytes(value) === value ? value : Buffer.from(value, "latin1")
  }
  return all
}
