/**
 * Requests that scripts make: to hosts that the operator has named, over addresses that the egress policy has seen,
 * within bounds of time, size, redirects and number.
 *
 * Every hop is asked for anew: its host by the list of `httpAllow`, a literal address by `EgressPolicy.checkUrl`, and
 * what a name leads to by the agent, on the very address that is connected to. So a redirect, or a name server that
 * changes its answer, leads nowhere that the first URL could not have led.
 *
 * All tenants share the agent's connections. Nothing that one sends can be read by another over them: headers that
 * frame a message are ours alone, and undici refuses what is no header.
 */

import type { IncomingHttpHeaders } from "node:http"
import { Effect, type Scope } from "effect"
import type { Agent, Dispatcher } from "undici"
import { EgressAgent, type EgressPolicy, EgressRefused, type HostAllowList } from "../webhooks/index.ts"

export interface HttpRequest {
  /** One of `httpMethods`. */
  readonly method: string
  /** As `permitted` has given it. */
  readonly url: URL
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
  readonly body: Uint8Array | null
  /** Milliseconds for all of it, redirects included. */
  readonly timeoutMs: number
}

export interface HttpAnswer {
  readonly status: number
  /** Names in lower case; several values of one name are joined by ", ". */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/**
 * Why there is no answer, in words for the script's author. Carries no address that was not in the script's own URL.
 */
export class HttpFailure extends Error {
  override readonly name = "HttpFailure"

  constructor(
    readonly reason: "invalid" | "refused" | "busy" | "timeout" | "size" | "redirects" | "network",
    message: string
  ) {
    super(message)
  }
}

export interface HttpSettings {
  /** What scripts may reach by name. */
  readonly hosts: HostAllowList
  /** Where names may lead. */
  readonly policy: EgressPolicy
  readonly userAgent: string
  /** All addresses of a name. Default: the system's resolver. */
  readonly resolve?: EgressAgent.Resolve
  readonly limits?: Partial<HttpLimits>
}

export interface HttpLimits {
  /** Requests under way, of all tenants. */
  readonly requestsMax: number
  /** Bytes of an answer's body. */
  readonly bodyBytesMax: number
  /** Bytes of all bodies that are being read. */
  readonly bytesMax: number
  readonly redirectsMax: number
  readonly connectTimeoutMs: number
  /** Connections to one origin; requests beyond wait for one. */
  readonly connectionsPerOrigin: number
}

export const defaultHttpLimits: HttpLimits = {
  requestsMax: 10_000,
  bodyBytesMax: 1 << 20, // what a script's codec takes at once
  bytesMax: 256 << 20,
  redirectsMax: 5,
  connectTimeoutMs: 10_000,
  connectionsPerOrigin: 1_024 // sockets; what many systems let a process have
}

export const httpMethods: ReadonlyArray<string> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

export class HttpRequester {
  readonly stats = { requests: 0, answers: 0, refused: 0, busy: 0, failed: 0, underWay: 0, bodyBytes: 0 }
  readonly limits: HttpLimits
  private readonly underWayOf = new Map<string, number>()

  private constructor(
    private readonly agent: Agent,
    private readonly settings: HttpSettings
  ) {
    this.limits = { ...defaultHttpLimits, ...settings.limits }
  }

  /** A requester whose connections are cut when the scope closes. */
  static make(settings: HttpSettings): Effect.Effect<HttpRequester, never, Scope.Scope> {
    const { connectionsPerOrigin, connectTimeoutMs } = { ...defaultHttpLimits, ...settings.limits }
    const { policy, resolve } = settings
    return EgressAgent.make({
      policy,
      connectionsPerOrigin,
      connectTimeoutMs,
      ...(resolve === undefined ? {} : { resolve })
    }).pipe(Effect.map((agent) => new HttpRequester(agent, settings)))
  }

  /**
   * The answer, whatever its status. Rejects with `HttpFailure`, and with the signal's reason when that fires first. A
   * tenant has `requestsMax` under way at most: until nothing of a request is left, which is later than its rejection
   * where it has no connection yet, since the wait for one cannot be given up.
   */
  async request(tenant: string, requestsMax: number, request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const { stats, limits } = this
    const underWay = this.underWayOf.get(tenant) ?? 0
    if (underWay >= requestsMax || stats.underWay >= limits.requestsMax) {
      stats.busy++
      const whose =
        underWay >= requestsMax ? `${requestsMax} requests of this tenant` : `${limits.requestsMax} requests`
      throw new HttpFailure("busy", `${whose} are under way, which is the limit`)
    }
    stats.requests++
    stats.underWay++
    this.underWayOf.set(tenant, underWay + 1)
    const timeout = AbortSignal.timeout(request.timeoutMs)
    const either = AbortSignal.any([signal, timeout])
    try {
      const answer = await unless(
        either,
        this.follow(request, either).finally(() => this.release(tenant))
      )
      stats.answers++
      return answer
    } catch (error) {
      const why = signal.aborted ? signal.reason : timeout.aborted ? tooLate(request.timeoutMs) : asFailure(error)
      if (why instanceof HttpFailure && why.reason === "refused") stats.refused++
      else stats.failed++
      throw why
    }
  }

  private release(tenant: string): void {
    this.stats.underWay--
    const left = (this.underWayOf.get(tenant) as number) - 1
    if (left === 0) this.underWayOf.delete(tenant)
    else this.underWayOf.set(tenant, left)
  }

  private async follow(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    let { url, method, body, headers } = request
    for (let hop = 0; ; hop++) {
      const answer = await this.hop(url, method, headers, body, signal)
      const { location } = answer.headers
      if (!redirects.has(answer.status) || location === undefined) return answer
      if (hop === this.limits.redirectsMax) {
        throw new HttpFailure("redirects", `more than ${this.limits.redirectsMax} redirects`)
      }
      if (!URL.canParse(location, url.href)) throw new HttpFailure("network", "a redirect to what is no URL")
      const next = this.check(new URL(location, url.href).href)
      if (next instanceof HttpFailure) throw next
      if (next.origin !== url.origin) headers = headers.filter(([name]) => !secrets.has(name.toLowerCase()))
      if (isAskedByGet(answer.status, method)) {
        method = "GET"
        body = null
        headers = headers.filter(([name]) => !name.toLowerCase().startsWith("content-"))
      }
      url = next
    }
  }

  /** The URL when a request to it may be tried, else why not, which is counted. Its name is not resolved here. */
  permitted(text: string): URL | HttpFailure {
    const checked = this.check(text)
    if (checked instanceof HttpFailure) this.stats.refused++
    return checked
  }

  private check(text: string): URL | HttpFailure {
    const { hosts, policy } = this.settings
    const checked = policy.checkUrl(text)
    if (checked instanceof EgressRefused) {
      // By its list first: whoever is not on it learns nothing of what addresses are.
      const url = URL.canParse(text) ? new URL(text) : undefined
      if (url !== undefined && /^https?:$/.test(url.protocol) && !hosts.allows(url)) return notAllowed(url)
      return new HttpFailure("refused", checked.message)
    }
    return hosts.allows(checked) ? checked : notAllowed(checked)
  }

  private hop(
    url: URL,
    method: string,
    headers: HttpRequest["headers"],
    body: Uint8Array | null,
    signal: AbortSignal
  ): Promise<HttpAnswer> {
    const { agent, settings } = this
    const own = headers.some(([name]) => name.toLowerCase() === "user-agent")
    const sent = own ? headers : [...headers, ["user-agent", settings.userAgent] as const]
    return new Promise((resolve, reject) => {
      const reader = new AnswerReader(this.stats, this.limits, signal, resolve, reject)
      agent.dispatch(
        {
          origin: url.origin,
          path: `${url.pathname}${url.search}`,
          method: method as "GET",
          headers: sent.flat() as string[],
          body
        },
        reader
      )
    })
  }
}

/**
 * Reads one answer as it comes, within the bounds of its size and of its pieces: whoever sends a body a byte at a time has
 * us called for each of them, a thousand times for what one read of the socket has brought.
 */
class AnswerReader implements Dispatcher.DispatchHandler {
  private readonly parts: Array<Uint8Array> = []
  private length = 0
  private status = 0
  private headers: Record<string, string> = {}
  private controller: Dispatcher.DispatchController | null = null

  constructor(
    private readonly stats: HttpRequester["stats"],
    private readonly limits: HttpLimits,
    private readonly signal: AbortSignal,
    private readonly resolve: (answer: HttpAnswer) => void,
    private readonly reject: (error: Error) => void
  ) {
    signal.addEventListener("abort", this.onAbort)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    if (this.signal.aborted) this.onAbort()
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    this.status = status
    this.headers = joined(headers)
  }

  onResponseData(controller: Dispatcher.DispatchController, part: Uint8Array): void {
    const { parts, stats, limits } = this
    this.length += part.length
    stats.bodyBytes += part.length
    parts.push(part)
    if (this.length > limits.bodyBytesMax) {
      controller.abort(new HttpFailure("size", `the answer has more than ${limits.bodyBytesMax} bytes`))
    } else if (stats.bodyBytes > limits.bytesMax) {
      controller.abort(new HttpFailure("busy", `the answers of all requests have more than ${limits.bytesMax} bytes`))
    } else if (parts.length > piecesFree + this.length / pieceBytes) {
      controller.abort(new HttpFailure("size", "the answer comes in too many small pieces"))
    }
  }

  onResponseEnd(): void {
    const { parts, status, headers } = this
    const body = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts)
    this.end()
    this.resolve({ status, headers, body })
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.end()
    this.reject(error)
  }

  private readonly onAbort = (): void => this.controller?.abort(this.signal.reason)

  private end(): void {
    this.signal.removeEventListener("abort", this.onAbort)
    this.stats.bodyBytes -= this.length
    this.length = 0
  }
}

const piecesFree = 4_096 // pieces of a body, however small; each costs a third of a microsecond
const pieceBytes = 64 // of each further one, on average

/** Why a script may not send this header, or undefined. */
export const refusalOfHeader = (name: string, value: string): string | undefined => {
  if (!headerName.test(name)) return `'${name.slice(0, 64)}' is no name of a header`
  if (framing.has(name.toLowerCase())) return `the header ${name} is not a script's to set`
  return headerValue.test(value) ? undefined : `the value of ${name} has characters that no header may have`
}

const headerName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/ // RFC 9110, 5.6.2: token
const headerValue = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/
/** What frames a message, or says where it goes. */
const framing = new Set(
  "connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split(
    " "
  )
)
/** What is meant for one origin, and follows no redirect to another. */
const secrets = new Set(["authorization", "cookie"])
const redirects = new Set([301, 302, 303, 307, 308])

/** RFC 9110, 15.4: what browsers do with 301 and 302 after a POST, and everybody with 303. */
const isAskedByGet = (status: number, method: string): boolean =>
  status === 303 ? method !== "HEAD" : (status === 301 || status === 302) && method === "POST"

const notAllowed = (url: URL): HttpFailure =>
  new HttpFailure("refused", `scripts may not reach ${url.host}; httpAllow (--http-allow ${url.host}) would allow it`)

const joined = (headers: Record<string, string | string[] | undefined>): Record<string, string> => {
  const all: Record<string, string> = Object.create(null)
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) all[name.toLowerCase()] = typeof value === "string" ? value : value.join(", ")
  }
  return all
}

/** What the promise gives, or the signal's reason as soon as that fires. */
const unless = <A>(signal: AbortSignal, promise: Promise<A>): Promise<A> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener("abort", onAbort)
    if (signal.aborted) onAbort()
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort))
  })

const tooLate = (timeoutMs: number): HttpFailure => new HttpFailure("timeout", `no answer within ${timeoutMs / 1000} s`)

/**
 * Node wraps what went wrong with several addresses into an error without words. Where names lead is not a script's to
 * know.
 */
const asFailure = (error: unknown): HttpFailure => {
  if (error instanceof HttpFailure) return error
  if (error instanceof EgressRefused) {
    return new HttpFailure("refused", `${error.destination} leads to no address that may be reached from here`)
  }
  const { code, message, name } = error as Error & { readonly code?: string }
  return new HttpFailure("network", code ?? (message || name))
}
