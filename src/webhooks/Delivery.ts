/**
 * One webhook: what is sent, where, and why.
 *
 * The same id is sent with every attempt, so that a receiver can drop what it has seen: delivery is at least once. The
 * names of the headers are those of Standard Webhooks [1].
 *
 * [1] standardwebhooks.com, spec 1.0.0, "Webhook metadata".
 */

/** What a trigger run asks to be sent. */
export interface Webhook {
  /** Stable over retries and restarts: of a boot, an event, a trigger, and a call in its run. 1 to 512 visible ASCII. */
  readonly id: string
  /** Absolute, http or https. */
  readonly url: string
  /** JSON text. */
  readonly body: string
  /** Beyond those that are set here. */
  readonly headers: Readonly<Record<string, string>>
  readonly trigger: string
  /** The key that was touched, as the kernel holds it. */
  readonly key: string
  /** A registered name: `ON_EXPIRE`. */
  readonly event: string
  /** Of the event, among those of its keyspace. */
  readonly sequence: number
  /** Milliseconds since the epoch. */
  readonly createdAtMs: number
  /** Whose it is; absent where it is no tenant's. Another one of this id, later, was made at another time. */
  readonly tenant?: { readonly id: string; readonly createdAtMs: number }
}

/** A webhook with what has been done for it. */
export interface Delivery extends Webhook {
  /** Attempts begun so far: 0 for a new one, 1 during the first. */
  readonly attempt: number
}

/** Why it cannot be sent as it is, or undefined when it can. */
export const refusalOf = ({ id, body, headers }: Webhook): string | undefined =>
  (idPattern.test(id) ? undefined : "the id must be 1 to 512 visible ASCII characters") ??
  (Buffer.byteLength(body) <= bodyBytesMax ? undefined : `the body is over ${bodyBytesMax} bytes`) ??
  refusalOfHeaders(headers)

/** What goes over the wire with an attempt that begins at `nowMs`. */
export const headersOf = (webhook: Webhook, nowMs: number, userAgent: string): Record<string, string> => ({
  ...webhook.headers,
  "content-type": "application/json",
  "user-agent": userAgent,
  "webhook-id": webhook.id,
  "webhook-timestamp": String(Math.floor(nowMs / 1000)) // of the attempt, in seconds
})

/** Bytes that a webhook holds while it waits, near enough to bound them. */
export const byteSizeOf = ({ id, url, body, headers, trigger, key, event }: Webhook): number => {
  let bytes =
    recordBytes + id.length + url.length + Buffer.byteLength(body) + trigger.length + key.length + event.length
  for (const name in headers) bytes += name.length + (headers[name] as string).length
  return bytes
}

const recordBytes = 200 // the record and its places in queues
const bodyBytesMax = 1024 * 1024 // as much as a trigger run may hold at most
const headerCountMax = 32
const headerBytesMax = 8 * 1024 // servers commonly refuse more

const refusalOfHeaders = (headers: Readonly<Record<string, string>>): string | undefined => {
  let count = 0
  let bytes = 0
  for (const name in headers) {
    const value = headers[name] as string
    if (!headerName.test(name)) return `"${shown(name)}" is no header name`
    if (reservedHeaders.has(name.toLowerCase())) return `the header ${name} is not for webhooks to set`
    if (!headerValue.test(value)) return `the header ${name} has a value with a line break or another control character`
    bytes += name.length + value.length
    if (++count > headerCountMax) return `more than ${headerCountMax} headers`
    if (bytes > headerBytesMax) return `more than ${headerBytesMax} bytes of headers`
  }
  return undefined
}

/** Hop-by-hop (RFC 9110, 7.6.1), those that frame the message, those set here, and the signature that will be. */
const reservedHeaders = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "content-length",
  "expect",
  "host",
  "content-type",
  "user-agent",
  "webhook-id",
  "webhook-timestamp",
  "webhook-signature"
])

const idPattern = /^[\x21-\x7e]{1,512}$/
const headerName = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/ // RFC 9110, token
const headerValue = /^[\t\x20-\x7e\x80-\xff]*$/ // RFC 9110, field-value

const shown = (text: string): string => JSON.stringify(text.slice(0, 64)).slice(1, -1)
