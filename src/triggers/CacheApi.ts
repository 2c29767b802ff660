/**
 * What a trigger can do: the functions of `cache` (and of its alias `cachee`), over the run's overlay.
 *
 * Nothing here touches the cache itself: reads look at the overlay and then into the keyspace without consequences,
 * everything else is put into the overlay, to be committed or dropped when the run is over (law 6).
 */
import { lossyText, messageBytes, toBytes, toJson, ttlMsOf, ttlSecondsMax } from "../cache/index.ts"
import {
  byteSize,
  entryBytes,
  entrySize,
  type KeyEvent,
  type Keyspace,
  type Meta,
  type Nested,
  noMeta,
  type Value,
  type ValueObject
} from "../kernel/index.ts"
import { type HostCall, type HostFunction, type LuaValue, Refusal } from "../sandbox/index.ts"
import { freeze, freezeFuel, kindOf, pays } from "../scripting/LuaData.ts"
import { changedPaths } from "./changedPaths.ts"
import { Overlay, overlayBytesMax, overlayOperationsMax } from "./Overlay.ts"
import type { BeforeChange } from "./TriggerGate.ts"

/** The run that is going on. One at a time in a thread, so one of these serves all of them. */
export class Run {
  /** Where what it wants is put; the caller's, since a BEFORE_ trigger may run while another's overlay is committed. */
  overlay = new Overlay()
  keyspace!: Keyspace
  nowMs = 0
  /** It is asked before something happens: it may refuse that, and change nothing by itself. */
  isBefore = false
  /** Why it refuses what it was asked about, or null. */
  rejection: string | null = null
  private sequence = 0
  /** The event's own name, where it has one. */
  private id: string | undefined
  private trigger = ""
  private readonly origins = new WeakMap<Keyspace, string>()

  constructor(
    /** Names this start of the process in ids. */
    readonly origin: string,
    /** What this instance is called, where other instances show names. */
    readonly instance = origin
  ) {}

  /**
   * Names a tenant's keyspace in ids, where its events have numbers of their own: `boot:acme:7` beside `boot-7`. A
   * tenant's id has no colon, so whatever triggers are called, no two calls have one id.
   */
  name(keyspace: Keyspace, tenant: string): void {
    this.origins.set(keyspace, `${this.origin}:${tenant}:`)
  }

  /** Starts a run of `trigger` on the event, at the event's time. */
  begin(
    overlay: Overlay,
    keyspace: Keyspace,
    trigger: string,
    { sequence, atMs, id }: Pick<KeyEvent, "sequence" | "atMs" | "id">,
    isBefore: boolean
  ): void {
    overlay.clear()
    this.overlay = overlay
    this.keyspace = keyspace
    this.trigger = trigger
    this.sequence = sequence
    this.id = id
    this.nowMs = atMs
    this.isBefore = isBefore
    this.rejection = null
  }

  /**
   * Names the event for ever: by its own name, which it has where another instance may tell of it, too; else by the
   * boot, the keyspace, the event's number; or the question's, before an event.
   */
  eventId(): string {
    return this.id ?? this.idOf(this.keyspace, this.sequence, this.isBefore)
  }

  idOf(keyspace: Keyspace, sequence: number, isBefore = false): string {
    return `${this.originOf(keyspace)}${isBefore ? "b" : ""}${sequence}`
  }

  /**
   * The id of the webhook that is sent next: the same for the same call of the same event, whatever happens (law 12).
   */
  webhookId(): string {
    return `${this.eventId()}-${this.trigger}-${this.overlay.webhooks.length + 1}`
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

  private originOf(keyspace: Keyspace): string {
    return this.origins.get(keyspace) ?? `${this.origin}-`
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
  /** A BEFORE_ trigger changes what it sees by what it returns. */
  const mayChange = (call: HostCall, name: string): boolean => {
    if (!run.isBefore) return true
    call.fail(`cache.${name} is not for BEFORE_ triggers: return the new value, or change other keys in an ON_ trigger`)
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
      if (!mayChange(call, "set")) return
      const key = keyOf(call, "set")
      if (key === undefined) return
      if (call.count < 2) return call.fail("cache.set takes a key, a value and, if need be, a table of options")
      if (call.kind(2) === "nil") return call.fail("cache.set: the value is nil; cache.delete removes a key")
      const value = dataOf(call, 2)
      if (value === undefined || !pays(call, value, freezeFuel)) return
      const options = call.count < 3 ? noOptions : optionsOf(call, run.nowMs)
      if (options === undefined) return
      // As the keyspace itself counts, so that it does not refuse at the commit what was admitted here.
      const size = entrySize(key, value, options.meta)
      if (size > run.keyspace.maxBytes) {
        const name = lossyText(key.slice(0, 80))
        return call.fail(
          `cache.set: the entry '${name}' alone would exceed the keyspace's limit of ${run.keyspace.maxBytes} bytes`
        )
      }
      if (!admits(call, size - entryBytes)) return
      run.overlay.changes.set(key, { value: freeze(value), expiresAtMs: options.expiresAtMs, meta: options.meta })
      call.returnBoolean(true)
    },

    delete(call) {
      if (!mayChange(call, "delete")) return
      const key = keyOf(call, "delete")
      if (key === undefined) return
      const isThere = run.read(key) !== undefined
      if (isThere) {
        if (!admits(call, key.length)) return
        run.overlay.changes.set(key, null)
      }
      call.returnBoolean(isThere)
    },

    warm(call) {
      if (!mayChange(call, "warm")) return
      const given = dataOf(call, 1)
      if (given === undefined || !pays(call, given, freezeFuel)) return
      const one = call.string(1)
      const keys = one !== undefined ? [one] : isEmptyTable(given) ? [] : given
      if (!isStringList(keys)) return call.fail(notWarmable(given))
      for (const key of keys) {
        const bytes = one ?? itemAsBytes(key)
        if (run.overlay.warms.has(bytes)) continue
        if (!admits(call, bytes.length)) return
        run.overlay.warms.add(bytes)
      }
      call.returnNil()
    },

    reject(call) {
      if (!run.isBefore)
        return call.fail("cache.reject is for BEFORE_WRITE and BEFORE_DELETE: nothing else can be refused")
      const reason = dataOf(call, 1)
      if (reason === undefined || !pays(call, reason, jsonFuel)) return
      run.rejection = reason === null ? "no reason was given" : oneLine(messageBytes(reason))
      call.fail(`rejected: ${run.rejection}`) // ends the run; one that catches it has refused all the same
    },

    diff(call) {
      if (call.count < 2) return call.fail("cache.diff takes two values, before and after")
      const before = dataOf(call, 1)
      const after = before === undefined ? undefined : dataOf(call, 2)
      if (before === undefined || after === undefined) return
      if (pays(call, before, diffFuel) && pays(call, after, diffFuel)) call.returnValue(changedPaths(before, after))
    },

    emit(call) {
      const channel = call.string(1)
      if (channel === undefined) return call.fail("cache.emit takes a channel (a string) and a payload")
      if (channel.length > channelBytesMax) {
        return call.fail(
          `cache.emit: a channel has at most ${channelBytesMax} bytes, as in PUBLISH; this one has ${channel.length}`
        )
      }
      const value = call.count < 2 ? "" : dataOf(call, 2)
      if (value === undefined || !pays(call, value, jsonFuel)) return
      const payload = messageBytes(value)
      if (!admits(call, channel.length + payload.length)) return
      run.overlay.emits.push({ channel, payload })
      call.returnNil()
    },

    log(call) {
      if (call.count === 0) return call.fail("cache.log takes a message, or a stream and its fields")
      const stream = call.count > 1 ? call.string(1) : null
      if (stream === undefined) return call.fail("cache.log takes a message, or a stream and its fields")
      const logged = dataOf(call, stream === null ? 1 : 2)
      if (logged === undefined || !pays(call, logged, jsonFuel + jsonFuel)) return
      if (!admits(call, byteSize(logged) + (stream === null ? 0 : stream.length))) return
      const isTable = typeof logged === "object" && logged !== null && !(logged instanceof Number)
      const fields = isTable ? (JSON.parse(toJson(logged)) as object) : null
      const name = stream === null ? null : textOf(call, stream)
      const message = fields === null ? textOf(call, messageBytes(logged)) : null
      if (name === undefined || message === undefined) return
      run.overlay.logs.push({ stream: name, message, fields: fields as Record<string, unknown> | null })
      call.returnNil()
    },

    webhook(call) {
      const address = call.string(1) ?? ""
      if (address.length > urlBytesMax) {
        return call.fail(`cache.webhook: a URL has at most ${urlBytesMax} bytes, this one has ${address.length}`)
      }
      const url = lossyText(address)
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
      const text = typeof payload === "string" ? textOf(call, payload) : null
      if (
        text === undefined ||
        !(text === null ? pays(call, payload, jsonFuel) : call.charge(text.length * quoteFuel))
      ) {
        return
      }
      const body = text === null ? toJson(payload) : JSON.stringify(text)
      if (!admits(call, url.length + body.length + (options === null ? 0 : byteSize(options)))) return
      const ownId = options === null ? undefined : (options as ValueObject).id
      const id = typeof ownId === "string" ? ownId : run.webhookId()
      run.overlay.webhooks.push({ id, url, body, headers })
      call.returnString(toBytes(id))
    }
  }
}

/** Why an argument of `cache.warm` is none. */
const notWarmable = (given: LuaValue): string => {
  const [selector] = isPlainObject(given) ? Object.keys(given) : []
  return selector === "tag" || selector === "dependents"
    ? `cache.warm cannot find keys by { ${selector} = … } in this version: give it a key, or a list of keys`
    : "cache.warm takes a key (a string), or a list of keys"
}

const keyOf = (call: HostCall, name: string): string | undefined => {
  const key = call.string(1)
  if (key === undefined) call.fail(`cache.${name} takes a key (a string) first, not ${kindOf(call, 1)}`)
  return key
}

/** An argument as plain data, null where there is none; what cannot cross fails the call. */
const dataOf = (call: HostCall, index: number): LuaValue | undefined => {
  const value = call.value(index)
  if (!(value instanceof Refusal)) return value
  call.fail(value.message)
  return undefined
}

// Units of fuel (250 a µs) for each byte that `byteSize` counts: measured on arrays, objects, maps and nested ones,
// each the dearest of them.
const jsonFuel = 1.5
const diffFuel = 2.5

/** Bytes as text, charged for; undefined where the run cannot pay, and is over. */
const textOf = (call: HostCall, bytes: string): string | undefined => {
  if (bytes.length <= freeTextBytes) return lossyText(bytes)
  if (!call.charge(bytes.length * scanFuel)) return undefined
  if (!beyondAscii.test(bytes)) return bytes
  return call.charge(bytes.length * textFuel) ? lossyText(bytes) : undefined
}

const freeTextBytes = 256 // what the price of a call covers
const beyondAscii = /[\x80-\xff]/

// Units a byte: to see that it is ASCII, to decode what is not, to quote it for JSON.
const scanFuel = 0.1
const textFuel = 1
const quoteFuel = 0.4

/** A reason as one line of an answer. */
const oneLine = (bytes: string): string =>
  lossyText(bytes.slice(0, 4 * reasonMax))
    .replace(/[\r\n]+/g, " ")
    .slice(0, reasonMax)

const reasonMax = 512 // characters of a reason that a client is told

const noOptions = { expiresAtMs: 0, meta: noMeta }

/** The third argument of `cache.set`: ttl in seconds, metadata, tags, cost. */
const optionsOf = (call: HostCall, nowMs: number): { expiresAtMs: number; meta: Meta } | undefined => {
  const given = dataOf(call, 3)
  if (given === undefined || !pays(call, given, freezeFuel)) return undefined
  if (given === null) return noOptions
  const options = attachmentsOf(given, nowMs)
  if (typeof options !== "string") return options
  call.fail(`cache.set: ${options}`)
  return undefined
}

/** What a table of ttl, metadata, tags and cost says, or why it is none. */
const attachmentsOf = (given: LuaValue, nowMs: number): { expiresAtMs: number; meta: Meta } | string => {
  if (!isPlainObject(given)) {
    return "the options are a table such as { ttl = 30, metadata = {…}, tags = {…}, cost = 1 }"
  }
  const { ttl: ttlGiven = null, metadata = null, tags = null, cost: costGiven = null, ...rest } = given
  const [ttl, cost] = [unboxed(ttlGiven), unboxed(costGiven)]
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) return `there is no option '${unknown}'; there are ttl, metadata, tags and cost`
  const ttlMs = ttl === null ? null : typeof ttl === "number" ? ttlMsOf(ttl) : undefined
  if (ttlMs === undefined) return `ttl is a number of seconds above zero, up to ${ttlSecondsMax}`
  if (cost !== null && !(typeof cost === "number" && cost >= 0 && cost < Number.POSITIVE_INFINITY)) {
    return "cost is a number of zero or more, and finite"
  }
  const tagList = tags === null || isEmptyTable(tags) ? [] : tags
  if (!isStringList(tagList)) return "tags is a list of strings"
  if (!(metadata === null || isPlainObject(metadata))) return "metadata is a table with strings as keys"
  const isPlain = metadata === null && tags === null && cost === null
  return {
    expiresAtMs: ttlMs === null ? 0 : nowMs + ttlMs,
    meta: isPlain
      ? noMeta
      : Object.freeze({
          metadata: metadata === null ? null : (freeze(metadata) as ValueObject),
          tags: Object.freeze(tagList.map(itemAsBytes)),
          cost: cost ?? 0
        })
  }
}

/**
 * What a BEFORE_WRITE trigger makes of the write by what it returned: nothing, a new value, or a table of value, ttl,
 * metadata, tags and cost. As a text, why it is none of these.
 */
export const beforeChangeOf = (returned: LuaValue | Refusal, nowMs: number): BeforeChange | null | string => {
  if (returned === null) return null
  if (returned instanceof Refusal) return `what it returned: ${returned.message}`
  if (typeof returned === "boolean") {
    return `it returned ${returned}: return nothing to let the write pass, { value = ${returned} } to store that, or call cache.reject`
  }
  if (!isChangeTable(returned)) return { value: stored(returned) }
  const { value, ...attachments } = returned
  const given = attachmentsOf(attachments, nowMs)
  if (typeof given === "string") return `what it returned: ${given}`
  const { metadata, tags, cost } = given.meta
  return {
    ...(value === undefined ? {} : { value: typeof value === "string" ? toBytes(value) : stored(value as LuaValue) }),
    ...(attachments.ttl === undefined ? {} : { expiresAtMs: given.expiresAtMs }),
    ...(attachments.metadata === undefined ? {} : { metadata }),
    ...(attachments.tags === undefined ? {} : { tags }),
    ...(attachments.cost === undefined ? {} : { cost })
  }
}

/** A table of which every key is one that a change has; any other is a value. */
const isChangeTable = (value: LuaValue): value is ValueObject & { [key: string]: LuaValue } => {
  if (!isPlainObject(value)) return false
  const keys = Object.keys(value)
  return keys.length > 0 && keys.every((key) => changeKeys.has(key))
}

const changeKeys: ReadonlySet<string> = new Set(["value", "ttl", "metadata", "tags", "cost"])

/**
 * A value that came out of Lua as the keyspace holds it: bytes that are no text inside a table are bytes outside of it.
 */
const stored = (value: LuaValue): Value =>
  value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : (freeze(value as Value) as Value)

/** Text, or bytes that are no text: both are strings in Lua. */
const isStringList = (value: unknown): value is ReadonlyArray<string | Uint8Array> =>
  Array.isArray(value) && value.every((item) => typeof item === "string" || item instanceof Uint8Array)

/** A string out of a table, as bytes. */
const itemAsBytes = (item: string | Uint8Array): string =>
  typeof item === "string" ? toBytes(item) : Buffer.from(item).toString("latin1")

/** Lua has one empty table, which the codec takes for an object. */
const isEmptyTable = (value: unknown): boolean => isPlainObject(value) && Object.keys(value).length === 0

const isPlainObject = (value: unknown): value is ValueObject =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) &&
  !(value instanceof Map) &&
  !(value instanceof Number) &&
  !(value instanceof Uint8Array)

/** Anything but a number is itself; 30.0 is no other ttl than 30. */
const unboxed = (value: Nested): Nested => (value instanceof Number ? value.valueOf() : value)

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
  const count = Object.keys(headers).length
  if (count > headersMax) return `${count} headers are more than ${headersMax}`
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== "string" || !headerNameRule.test(name) || !headerValueRule.test(value)) {
      return `'${name.slice(0, 40)}' is no header: names are tokens, values are one line of text`
    }
  }
  return headers as Record<string, string>
}

const headersMax = 31 // with the cascade's, as many as a webhook may have
const channelBytesMax = 1024 // the most that PUBLISH and SUBSCRIBE take (the server's channelBytesMax)
const urlBytesMax = 8192 // more than servers take
const urlRule = /^https?:\/\//i // the rest of it is judged where it is sent
const webhookIdRule = /^[\x21-\x7e]{1,256}$/
const headerNameRule = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/
const headerValueRule = /^[\t\x20-\x7e]*$/
