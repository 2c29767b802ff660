/**
 * What a trigger can do: the functions of `cache` (and of its alias `cachee`), over the run's overlay.
 *
 * Nothing here touches the cache itself: reads look at the overlay and then into the keyspace without consequences,
 * everything else is put into the overlay, to be committed or dropped when the run is over (law 6).
 */
import { toBytes, toJson, toText, valueAsBytes } from "../cache/index.ts"
import {
  byteSize,
  entryBytes,
  type Keyspace,
  type Meta,
  metaByteSize,
  noMeta,
  type Value,
  type ValueObject
} from "../kernel/index.ts"
import { type HostCall, type HostFunction, type LuaValue, Refusal } from "../sandbox/index.ts"
import { Overlay, overlayBytesMax, overlayOperationsMax } from "./Overlay.ts"

/** The run that is going on. One at a time in a VM, so one of these serves all runs of it. */
export class Run {
  readonly overlay = new Overlay()
  keyspace!: Keyspace
  nowMs = 0
  private sequence = 0
  private trigger = ""

  constructor(private readonly origin: string) {}

  /** Starts a run of `trigger` on the event numbered `sequence`, at the event's time. */
  begin(keyspace: Keyspace, trigger: string, sequence: number, nowMs: number): void {
    this.overlay.clear()
    this.keyspace = keyspace
    this.trigger = trigger
    this.sequence = sequence
    this.nowMs = nowMs
  }

  /** The id of the webhook that is sent next: the same for the same call of the same event, whatever happens (law 12). */
  webhookId(): string {
    return `${this.origin}-${this.sequence}-${this.trigger}-${this.overlay.webhooks.length + 1}`
  }

  /** Lua's `print` is `cache.log` of one line; what exceeds the run's bounds is left out. */
  print(line: string): void {
    if (!this.overlay.admit(line.length)) return
    this.overlay.logs.push({ stream: null, message: lossyText(line), fields: null })
  }

  /** The value of a key as this run sees it, undefined where there is none. */
  read(key: string): Value | undefined {
    const { overlay } = this
    if (!overlay.isEmpty) {
      const change = overlay.changes.get(key)
      if (change !== undefined) return change === null ? undefined : change.value
    }
    return this.keyspace.peek(key)?.value
  }
}

/** The functions of `cache` for the runs that go on in `run`. */
export const makeCacheApi = (run: Run): Readonly<Record<string, HostFunction>> => {
  const admits = (call: HostCall, bytes: number): boolean => {
    if (run.overlay.admit(bytes)) return true
    call.fail(
      `a run may make ${overlayOperationsMax} changes and calls of ${overlayBytesMax} bytes together; this is more`
    )
    return false
  }
  return {
    get(call) {
      const key = keyOf(call, "get")
      if (key === undefined) return
      const value = run.read(key)
      if (value === undefined) call.returnNil()
      else if (typeof value === "string") call.returnString(value)
      else call.returnValue(value)
    },

    set(call) {
      const key = keyOf(call, "set")
      if (key === undefined) return
      if (call.count < 2) return call.fail("cache.set takes a key, a value and, if need be, a table of options")
      const value = dataOf(call, 2)
      if (value === undefined) return
      const options = call.count < 3 ? noOptions : optionsOf(call, run.nowMs)
      if (options === undefined) return
      // As the keyspace itself counts, so that it does not refuse at the commit what was admitted here.
      const bytes = key.length + byteSize(value) + metaByteSize(options.meta)
      if (entryBytes + bytes > run.keyspace.maxBytes) {
        const name = lossyText(key.slice(0, 80))
        return call.fail(
          `cache.set: the entry '${name}' alone would exceed the keyspace's limit of ${run.keyspace.maxBytes} bytes`
        )
      }
      if (!admits(call, bytes)) return
      run.overlay.changes.set(key, { value: freeze(value), expiresAtMs: options.expiresAtMs, meta: options.meta })
      call.returnBoolean(true)
    },

    delete(call) {
      const key = keyOf(call, "delete")
      if (key === undefined) return
      const isThere = run.read(key) !== undefined
      if (isThere) {
        if (!admits(call, key.length)) return
        run.overlay.changes.set(key, null)
      }
      call.returnBoolean(isThere)
    },

    emit(call) {
      const channel = call.string(1)
      if (channel === undefined) return call.fail("cache.emit takes a channel (a string) and a payload")
      const value = call.count < 2 ? "" : dataOf(call, 2)
      if (value === undefined) return
      const payload = valueAsBytes(value)
      if (!admits(call, channel.length + payload.length)) return
      run.overlay.emits.push({ channel, payload })
      call.returnNil()
    },

    log(call) {
      if (call.count === 0) return call.fail("cache.log takes a message, or a stream and its fields")
      const stream = call.count > 1 ? call.string(1) : null
      if (stream === undefined) return call.fail("cache.log takes a message, or a stream and its fields")
      const logged = dataOf(call, stream === null ? 1 : 2)
      if (logged === undefined) return
      if (!admits(call, byteSize(logged))) return
      const fields = typeof logged === "object" && logged !== null ? (JSON.parse(toJson(logged)) as object) : null
      run.overlay.logs.push({
        stream: stream === null ? null : lossyText(stream),
        message: fields === null ? lossyText(valueAsBytes(logged)) : null,
        fields: fields as Record<string, unknown> | null
      })
      call.returnNil()
    },

    webhook(call) {
      const url = lossyText(call.string(1) ?? "")
      if (!urlRule.test(url)) {
        return call.fail(
          `cache.webhook: '${url.slice(0, 80)}' is no http or https URL; it stands first, then the payload`
        )
      }
      const payload = dataOf(call, 2)
      const options = payload === undefined ? undefined : dataOf(call, 3)
      if (payload === undefined || options === undefined) return
      const headers = headersOf(options)
      if (typeof headers === "string") return call.fail(`cache.webhook: ${headers}`)
      const body = typeof payload === "string" ? JSON.stringify(lossyText(payload)) : toJson(payload)
      if (!admits(call, url.length + body.length + (options === null ? 0 : byteSize(options)))) return
      const ownId = options === null ? undefined : (options as ValueObject).id
      const id = typeof ownId === "string" ? ownId : run.webhookId()
      run.overlay.webhooks.push({ id, url, body, headers })
      call.returnString(toBytes(id))
    }
  }
}

const keyOf = (call: HostCall, name: string): string | undefined => {
  const key = call.string(1)
  if (key === undefined) {
    const kind = call.kind(1)
    call.fail(`cache.${name} takes a key (a string) first, not ${kind === "none" ? "nothing" : `a ${kind}`}`)
  }
  return key
}

/** An argument as plain data, null where there is none; what cannot cross fails the call. */
const dataOf = (call: HostCall, index: number): LuaValue | undefined => {
  const value = call.value(index)
  if (!(value instanceof Refusal)) return value
  call.fail(value.message)
  return undefined
}

const lossyText = (bytes: string): string => toText(bytes) ?? Buffer.from(bytes, "latin1").toString("utf8")

const noOptions = { expiresAtMs: 0, meta: noMeta }

/** The third argument of `cache.set`: ttl in seconds, metadata, tags, cost. */
const optionsOf = (call: HostCall, nowMs: number): { expiresAtMs: number; meta: Meta } | undefined => {
  const given = dataOf(call, 3)
  if (given === undefined) return undefined
  if (given === null) return noOptions
  const refuse = (reason: string): undefined => {
    call.fail(`cache.set: ${reason}`)
    return undefined
  }
  if (typeof given !== "object" || Array.isArray(given) || given instanceof Map || given instanceof Uint8Array) {
    return refuse("the options are a table such as { ttl = 30, metadata = {…}, tags = {…}, cost = 1 }")
  }
  const { ttl = null, metadata = null, tags = null, cost = null, ...rest } = given as ValueObject
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) return refuse(`there is no option '${unknown}'; there are ttl, metadata, tags and cost`)
  if (ttl !== null && !(typeof ttl === "number" && ttl > 0 && ttl <= ttlSecondsMax)) {
    return refuse(`ttl is a number of seconds above zero, up to ${ttlSecondsMax}`)
  }
  if (cost !== null && typeof cost !== "number") return refuse("cost is a number")
  const tagList = tags === null || isEmptyTable(tags) ? [] : tags
  if (!isStringList(tagList)) return refuse("tags is a list of strings")
  if (!(metadata === null || isPlainObject(metadata))) return refuse("metadata is a table with strings as keys")
  const isPlain = metadata === null && tags === null && cost === null
  return {
    expiresAtMs: ttl === null ? 0 : nowMs + Math.max(1, Math.ceil(ttl * 1000 - ttlSlackMs)),
    meta: isPlain
      ? noMeta
      : Object.freeze({
          metadata: metadata === null ? null : (freeze(metadata) as ValueObject),
          tags: Object.freeze(tagList.map(tagAsBytes)),
          cost: cost ?? 0
        })
  }
}

const ttlSecondsMax = 1e12 // about 31,700 years; far below where milliseconds cease to be exact
const ttlSlackMs = 0.001 // 16.1 * 1000 is 16100.000000000002, and meant as 16100

/** Text, or bytes that are no text: both are strings in Lua. */
const isStringList = (value: unknown): value is ReadonlyArray<string | Uint8Array> =>
  Array.isArray(value) && value.every((item) => typeof item === "string" || item instanceof Uint8Array)

const tagAsBytes = (tag: string | Uint8Array): string =>
  typeof tag === "string" ? toBytes(tag) : Buffer.from(tag).toString("latin1")

/** Lua has one empty table, which the codec takes for an object. */
const isEmptyTable = (value: unknown): boolean => isPlainObject(value) && Object.keys(value).length === 0

const isPlainObject = (value: unknown): value is ValueObject =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) &&
  !(value instanceof Map) &&
  !(value instanceof Uint8Array)

/** The headers of a webhook's options, or why they are none. */
const headersOf = (options: unknown): Record<string, string> | string => {
  if (options === null) return {}
  if (!isPlainObject(options)) {
    return "the options are a table such as { headers = { ['x-team'] = 'a' }, id = 'order-7' }"
  }
  const { headers = null, id = null, ...rest } = options
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) return `there is no option '${unknown}'; there are headers and id`
  if (id !== null && !(typeof id === "string" && webhookIdRule.test(id))) {
    return "id is 1 to 256 printable ASCII characters without spaces"
  }
  if (headers === null) return {}
  if (!isPlainObject(headers)) return "headers is a table of strings"
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== "string" || !headerNameRule.test(name) || !headerValueRule.test(value)) {
      return `'${name.slice(0, 40)}' is no header: names are tokens, values are one line of text`
    }
  }
  return headers as Record<string, string>
}

const urlRule = /^https?:\/\//i // the rest of it is judged where it is sent
const webhookIdRule = /^[\x21-\x7e]{1,256}$/
const headerNameRule = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/
const headerValueRule = /^[\t\x20-\x7e]*$/

/** Structures that came out of Lua are shared from now on. Typed arrays and maps cannot be frozen. */
const freeze = <V extends Value | ValueObject>(value: V): V => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value
  const items: Iterable<unknown> = value instanceof Map ? value.values() : Object.values(value)
  for (const item of items) freeze(item as Value)
  return value instanceof Map ? value : Object.freeze(value)
}
