/**
 * The lines of inline tests: what `given:` and `expect:` say, read into data.
 *
 * A line is a verb and its words. A word ends at a blank; one with blanks in it is a JSON string. A value is text as it
 * stands (`42`, `ada`: the bytes that SET stores), JSON where it begins with `{`, `[` or `"`, and after `json:`
 * whatever else JSON can say (`json:42` is a number, `json:null` nil).
 *
 *     given:  ON_EXPIRE session:42 ada ttl 30 metadata {"hook": "https://shop.example"}
 *     expect: webhook https://shop.example {"user": "ada"}
 */
import { toBytes, toMetadata, toValue } from "../cache/index.ts"
import { type Meta, noMeta, type Value, type ValueObject } from "../kernel/index.ts"
import { type TriggerEventName, triggerEventNames } from "./Trigger.ts"
import { type FailureKind, failureKinds } from "./TriggerStats.ts"

/** A value as a line states it: text, or what JSON says. */
export type Stated = { readonly text: string } | { readonly json: unknown }

export interface Given {
  event: TriggerEventName
  key: string
  value: Value | undefined
  oldValue: Value | undefined
  meta: Meta
  ttlMs: number | null
  /** How many keys a flush took. */
  count: number
  nowMs: number
  readonly cache: GivenEntry[]
}

/** What is in the cache before. */
export interface GivenEntry {
  readonly key: string
  readonly value: Value
  readonly ttlMs: number | null
  readonly meta: Meta
}

/** What a line says of an entry; what it leaves out may be anything. */
export interface StatedEntry {
  readonly value?: Stated
  /** Null for none. */
  readonly ttlMs?: number | null
  readonly metadata?: unknown
  readonly tags?: readonly string[]
  readonly cost?: number
}

export const effectKinds = ["set", "delete", "emit", "webhook", "log", "print", "warm"] as const
export type EffectKind = (typeof effectKinds)[number]

/** What a test expects of a run. */
export type Expectation =
  | { readonly verb: "status"; readonly status: "ok" | FailureKind; readonly message: string }
  | { readonly verb: "return"; readonly value: Stated }
  | { readonly verb: "store"; readonly entry: StatedEntry }
  | { readonly verb: "set"; readonly key: string; readonly entry: StatedEntry }
  | { readonly verb: "delete" | "warm"; readonly key: string }
  | { readonly verb: "emit"; readonly channel: string; readonly payload: Stated | null }
  | { readonly verb: "webhook"; readonly url: string; readonly payload: Stated | null }
  | { readonly verb: "log"; readonly stream: string; readonly logged: Stated | null }
  | { readonly verb: "print"; readonly logged: Stated | null }
  | { readonly verb: "count"; readonly kind: EffectKind; readonly count: number }
  | { readonly verb: "nothing" }
  /** The trigger is not for this event. */
  | { readonly verb: "no run" }

/** A line that cannot be read: what is wrong with it, and what would be right. */
export class Unreadable extends Error {}

/** The time of a test that names none: event.timestamp is the same on every day. */
export const givenNowMs = Date.UTC(2026, 0, 1)

export const makeGiven = (event: TriggerEventName, key: string): Given => ({
  event,
  key,
  value: undefined,
  oldValue: undefined,
  meta: noMeta,
  ttlMs: null,
  count: 1,
  nowMs: givenNowMs,
  cache: []
})

/** Reads a `given:` line into `given`, which the first one makes. Throws `Unreadable`. */
export const readGiven = (text: string, given: Given | undefined): Given => {
  const words = new Words(text)
  const verb = words.take("what is given")
  const event = triggerEventNames.find((name) => name === verb)
  if (event !== undefined) {
    if (given !== undefined) throw new Unreadable(`a test has one event, and this one has ${given.event} already`)
    if (event === "ON_FLUSH") {
      const count = words.isDone ? 1 : words.number("number of keys")
      words.end()
      return { ...makeGiven(event, ""), count }
    }
    const made = makeGiven(event, toBytes(words.take(`the key, as in: ${event} session:42 ada`)))
    if (!words.isDone) made.value = kernelValue(words.value())
    const { ttlMs, meta } = words.entry()
    made.ttlMs = ttlMs
    made.meta = meta
    return made
  }
  if (given === undefined) {
    throw new Unreadable(`a test begins with its event, as in: given: ON_WRITE price:1 20; not with '${verb}'`)
  }
  switch (verb) {
    case "old":
      given.oldValue = kernelValue(words.value())
      break
    case "cache": {
      const key = toBytes(words.take("the key, as in: cache price:1 20"))
      const value = kernelValue(words.value())
      given.cache.push({ key, value, ...words.entry() })
      break
    }
    case "now": {
      const time = words.take("a time")
      given.nowMs = Date.parse(time)
      if (Number.isNaN(given.nowMs)) throw new Unreadable(`'${time}' is no time such as 2026-01-01T12:00:00Z`)
      break
    }
    default: {
      const facts = "old, cache, now"
      throw new Unreadable(
        `'${verb}' cannot be given; there are the events (${triggerEventNames.join(", ")}), ${facts}`
      )
    }
  }
  words.end()
  return given
}

/** Reads an `expect:` line. Throws `Unreadable`. */
export const readExpectation = (text: string): Expectation => {
  const words = new Words(text)
  const verb = words.take("what is expected")
  const expectation = expectationOf(verb, words)
  words.end()
  return expectation
}

const expectationOf = (verb: string, words: Words): Expectation => {
  const status = Object.hasOwn(statuses, verb) ? statuses[verb] : undefined
  if (status !== undefined) return { verb: "status", status, message: words.rest() }
  switch (verb) {
    case "nothing":
      return { verb }
    case "return":
      return { verb, value: words.value() }
    case "store":
      return { verb, entry: statedEntry(words) }
    case "set":
      return { verb, key: words.take("the key, as in: set price:1 20"), entry: statedEntry(words) }
    case "delete":
      return { verb, key: words.take("the key, as in: delete price:1") }
    case "warm":
      return { verb, key: words.take("the key, as in: warm price:1") }
    case "emit":
      return { verb, channel: words.take("the channel, as in: emit news hello"), payload: words.valueIfAny() }
    case "webhook":
      return { verb, url: words.take("the URL, as in: webhook https://shop.example"), payload: words.valueIfAny() }
    case "log":
      return { verb, stream: words.take('the stream, as in: log audit {"key": "a"}'), logged: words.valueIfAny() }
    case "print":
      return { verb, logged: words.isDone ? null : { text: words.rest() } }
  }
  const count = verb === "no" ? 0 : /^\d{1,6}$/.test(verb) ? Number(verb) : undefined
  if (count === undefined) {
    const verbs = [...Object.keys(statuses), "return", "store", ...effectKinds, "nothing", "no", "a count"]
    throw new Unreadable(`'${verb}' cannot be expected; there are ${verbs.join(", ")}`)
  }
  const what = words.take("what is counted, as in: no webhooks")
  if (verb === "no" && what === "run") return { verb: "no run" }
  const kind = effectKinds.find((kind) => what === kind || what === `${kind}s`)
  if (kind === undefined) {
    throw new Unreadable(`'${what}' cannot be counted; there are ${effectKinds.map((kind) => `${kind}s`).join(", ")}`)
  }
  return { verb: "count", kind, count }
}

const statuses: Readonly<Record<string, "ok" | FailureKind>> = {
  ok: "ok",
  ...Object.fromEntries(failureKinds.map((kind) => [kind === "rejected" ? "reject" : kind, kind]))
}

const statedEntry = (words: Words): StatedEntry => {
  const value = words.isAtOption ? null : words.valueIfAny()
  return { ...(value === null ? {} : { value }), ...words.options() }
}

const kernelValue = (stated: Stated): Value => {
  const value = toValue("text" in stated ? stated.text : stated.json)
  if (value instanceof Error) throw new Unreadable(value.message)
  return value
}

/** A line, taken word by word. */
class Words {
  private at = 0

  constructor(private readonly text: string) {
    this.skipBlanks()
  }

  get isDone(): boolean {
    return this.at === this.text.length
  }

  /** An option's name is next, and something behind it. */
  get isAtOption(): boolean {
    return /^(ttl|metadata|tags|cost)\s/.test(this.text.slice(this.at))
  }

  /** The next word; `what` says what is missing where there is none. */
  take(what: string): string {
    if (this.isDone) throw new Unreadable(`here is missing ${what}`)
    if (this.text[this.at] === '"') return this.json() as string
    return this.run()
  }

  value(): Stated {
    if (this.isDone) throw new Unreadable('here is missing a value, as in: 42, "two words" or {"a": 1}')
    if (/["{[]/.test(this.text[this.at] as string)) {
      const json = this.json()
      return typeof json === "string" ? { text: json } : { json }
    }
    if (!this.text.startsWith("json:", this.at)) return { text: this.run() }
    this.at += "json:".length
    return { json: this.json() }
  }

  valueIfAny(): Stated | null {
    return this.isDone ? null : this.value()
  }

  /** The options of an entry, each at most once. */
  options(): Omit<StatedEntry, "value"> {
    const options: { ttlMs?: number | null; metadata?: unknown; tags?: readonly string[]; cost?: number } = {}
    while (!this.isDone) {
      const name = this.run()
      if (name === "ttl") options.ttlMs = this.ttl()
      else if (name === "metadata") options.metadata = this.object()
      else if (name === "tags") options.tags = this.run().split(",")
      else if (name === "cost") options.cost = this.number("number")
      else {
        throw new Unreadable(`'${name}' is none of ttl, metadata, tags, cost; a value with blanks is "in quotes"`)
      }
    }
    return options
  }

  /** The same, as an entry in the cache has them. */
  entry(): Pick<GivenEntry, "ttlMs" | "meta"> {
    const { ttlMs = null, metadata, tags = [], cost = 0 } = this.options()
    if (metadata === undefined && tags.length === 0 && cost === 0) return { ttlMs, meta: noMeta }
    const kept = metadata === undefined ? null : toMetadata(metadata)
    if (kept instanceof Error) throw new Unreadable(kept.message)
    return { ttlMs, meta: { metadata: kept as ValueObject | null, tags: tags.map(toBytes), cost } }
  }

  rest(): string {
    const rest = this.text.slice(this.at).trimEnd()
    this.at = this.text.length
    return rest
  }

  end(): void {
    if (!this.isDone) throw new Unreadable(`'${this.rest()}' is too much here; a value with blanks is "in quotes"`)
  }

  private ttl(): number | null {
    if (!/^none(\s|$)/.test(this.text.slice(this.at)))
      return Math.round(this.number("number of seconds, nor none") * 1000)
    this.run()
    return null
  }

  number(what: string): number {
    const word = this.take("a number")
    const number = Number(word)
    if (!Number.isFinite(number)) throw new Unreadable(`'${word}' is no ${what}`)
    return number
  }

  private object(): unknown {
    if (this.text[this.at] === "{") return this.json()
    throw new Unreadable('metadata is a JSON object, as in: metadata {"limit": 10}')
  }

  private run(): string {
    const from = this.at
    while (!this.isDone && !isBlank(this.text[this.at])) this.at++
    const word = this.text.slice(from, this.at)
    this.skipBlanks()
    return word
  }

  /** JSON up to where it ends: brackets are counted outside of strings, and JSON.parse judges what lies between. */
  private json(): unknown {
    const from = this.at
    let depth = 0
    let isInString = false
    while (this.at < this.text.length) {
      const character = this.text[this.at] as string
      if (!isInString && depth === 0 && this.at > from && isBlank(character)) break
      this.at++
      if (isInString) {
        if (character === "\\") this.at++
        else if (character === '"') isInString = false
      } else if (character === '"') isInString = true
      else if (character === "{" || character === "[") depth++
      else if (character === "}" || character === "]") depth--
      if (!isInString && depth === 0 && /["}\]]/.test(character)) break
    }
    this.at = Math.min(this.at, this.text.length)
    const json = this.text.slice(from, this.at)
    this.skipBlanks()
    try {
      return JSON.parse(json)
    } catch (error) {
      throw new Unreadable(`${json} is no JSON: ${(error as Error).message}`)
    }
  }

  private skipBlanks(): void {
    while (!this.isDone && isBlank(this.text[this.at])) this.at++
  }
}

const isBlank = (character: string | undefined): boolean => character === " " || character === "\t"
