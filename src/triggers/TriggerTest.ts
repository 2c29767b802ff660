/**
 * An inline test of a trigger file: the event that is given, what is in the cache before, and what is expected of the
 * run. It runs in the engine itself, as a dry run over a keyspace of its own that holds nothing but what is given, at a
 * time that is given, and limited by fuel alone: the same answer on every machine and on every day.
 *
 * An event that the trigger is not for (another key, another event) is no run, and fails every test but one that
 * expects just that: `no run`. An object that is expected names the fields that matter; others may be there. Lists are
 * expected whole. A run that ends in another way than `ok` fails every test that does not expect just that.
 */
import { asText, fromValue, type Output, toJson } from "../cache/index.ts"
import { KeyEvent, Keyspace, type Nested, unmatched, type Value } from "../kernel/index.ts"
import type { LuaValue } from "../sandbox/index.ts"
import { beforeChangeOf } from "./CacheApi.ts"
import { DryRunner, type DryRunReport } from "./DryRun.ts"
import type { EffectKind, Expectation, Given, Stated, StatedEntry } from "./TestLine.ts"
import { isBefore, type TriggerDefinition, type TriggerEventName, triggerEvents } from "./Trigger.ts"
import { TriggerSyntaxError } from "./TriggerError.ts"
import { whyNotRun } from "./whyNotRun.ts"

export interface TriggerTest {
  readonly title: string
  /** Where it stands in its file, from 1. */
  readonly line: number
  readonly given: Given
  readonly expected: readonly ExpectedLine[]
}

export interface ExpectedLine {
  readonly line: number
  /** As it stands there. */
  readonly text: string
  readonly expectation: Expectation
}

/** One thing that was not as expected. */
export interface TestFailure {
  readonly line: number
  /** What was expected, in the words of the test. */
  readonly expected: string
  /** What there was instead, in the same words, one a line. */
  readonly actual: readonly string[]
}

/** What was not as the test expects; empty when all was. */
export const runTest = (definition: TriggerDefinition, { given, line, expected }: TriggerTest): TestFailure[] => {
  const reason = whyNotRun(definition, given)
  if (reason !== null) {
    const ran = expected.find(({ expectation }) => expectation.verb !== "no run")
    return ran === undefined ? [] : [{ line: ran.line, expected: ran.text, actual: [reason] }]
  }
  const report = tryGiven(definition, given)
  if (report instanceof TriggerSyntaxError) return [{ line, expected: "ok", actual: [report.message] }]
  const effects = effectsOf(report)
  const taken = new Set<Effect>()
  const expectsEnd = expected.some(({ expectation }) => expectation.verb === "status")
  const failures: TestFailure[] =
    expectsEnd || report.status === "ok" ? [] : [{ line, expected: "ok", actual: [endOf(report)] }]
  for (const { line, text, expectation } of expected) {
    const actual = differences(expectation, given, report, effects, taken)
    if (actual !== null) failures.push({ line, expected: text, actual: actual.length === 0 ? ["nothing"] : actual })
  }
  return failures
}

const tryGiven = (definition: TriggerDefinition, given: Given): DryRunReport | TriggerSyntaxError => {
  const clock = { nowMs: () => given.nowMs }
  const nobody = { onEvent() {}, onSettled() {} }
  const limits = { maxEntries: 100_000, maxBytes: 64 * 1024 * 1024 } // more than a file can state
  const keyspace = new Keyspace({ ...limits, clock, sink: nobody, wake() {} })
  for (const { key, value, ttlMs, meta } of given.cache) keyspace.set(key, value, deadlineOf(given, ttlMs), meta)
  const runner = new DryRunner({ ...clock, keyspace, origin: "test", monotonicMs: () => 0 })
  return runner.runOn(definition, eventOf(given, keyspace), isBefore(given.event))
}

const eventOf = (given: Given, { version }: Keyspace): KeyEvent => {
  const { event, key, value = "", oldValue, meta, ttlMs, nowMs, count } = given
  const isRemoval = removals.has(event)
  return new KeyEvent(
    1,
    triggerEvents[event][0],
    key,
    isRemoval || event === "ON_FLUSH" ? undefined : value,
    isRemoval || event === "ON_TOUCH" ? value : oldValue,
    meta,
    version,
    event === "ON_EXPIRE" ? nowMs : deadlineOf(given, ttlMs),
    nowMs,
    false,
    count,
    null,
    unmatched
  )
}

const removals: ReadonlySet<TriggerEventName> = new Set(["ON_DELETE", "ON_EXPIRE", "ON_EVICT", "BEFORE_DELETE"])

const deadlineOf = ({ nowMs }: Given, ttlMs: number | null): number => (ttlMs === null ? 0 : nowMs + ttlMs)

/** One thing that the run did, and how a test would expect it. */
interface Effect {
  readonly kind: EffectKind
  readonly words: string
  readonly matches: (expectation: Expectation) => boolean
}

const effectsOf = (report: DryRunReport): readonly Effect[] => [
  ...report.writes.map(
    (write): Effect => ({
      kind: "set",
      words: `set ${word(write.key)} ${valueWords(write.value)}${optionWords(write)}`,
      matches: (expected) =>
        expected.verb === "set" && expected.key === write.key && entryMatches(expected.entry, write)
    })
  ),
  ...report.deletes.map(
    (key): Effect => ({
      kind: "delete",
      words: `delete ${word(key)}`,
      matches: (expected) => expected.verb === "delete" && expected.key === key
    })
  ),
  ...report.warms.map(
    (key): Effect => ({
      kind: "warm",
      words: `warm ${word(key)}`,
      matches: (expected) => expected.verb === "warm" && expected.key === key
    })
  ),
  ...report.emits.map(({ channel, payload }): Effect => {
    const said = fromJson(payload)
    return {
      kind: "emit",
      words: `emit ${word(channel)} ${typeof said === "object" ? payload : word(payload)}`,
      matches: (expected) =>
        expected.verb === "emit" &&
        expected.channel === channel &&
        (expected.payload === null ||
          ("text" in expected.payload ? expected.payload.text === payload : includes(expected.payload.json, said)))
    }
  }),
  ...report.webhooks.map(
    ({ url, body }): Effect => ({
      kind: "webhook",
      words: `webhook ${url} ${body}`,
      matches: (expected) =>
        expected.verb === "webhook" &&
        expected.url === url &&
        (expected.payload === null || matchesStated(expected.payload, JSON.parse(body)))
    })
  ),
  ...report.logs.map(({ stream, message, fields }): Effect => {
    const logged = fields ?? message ?? ""
    if (stream === null) {
      return {
        kind: "print",
        words: `print ${typeof logged === "string" ? logged : JSON.stringify(logged)}`,
        matches: (expected) =>
          expected.verb === "print" && (expected.logged === null || matchesStated(expected.logged, logged))
      }
    }
    return {
      kind: "log",
      words: `log ${word(stream)} ${valueWords(logged as Nested)}`,
      matches: (expected) =>
        expected.verb === "log" &&
        expected.stream === stream &&
        (expected.logged === null || matchesStated(expected.logged, logged))
    }
  })
]

/** What there is instead of what is expected, or null where it is there. */
const differences = (
  expected: Expectation,
  given: Given,
  report: DryRunReport,
  effects: readonly Effect[],
  taken: Set<Effect>
): readonly string[] | null => {
  const wordsOf = (kinds: readonly Effect[]) => kinds.map(({ words }) => words)
  switch (expected.verb) {
    case "status": {
      const { status, message } = expected
      return report.status === status && (report.error ?? "").includes(message) ? null : [endOf(report)]
    }
    case "return":
      return matchesStated(expected.value, report.result) ? null : [`return ${valueWords(report.result)}`]
    case "store": {
      const stored = storedBy(report, given)
      if (typeof stored === "string") return [stored]
      return entryMatches(expected.entry, stored) ? null : [`store ${valueWords(stored.value)}${optionWords(stored)}`]
    }
    case "no run":
      return ["a run: this trigger is for that event"]
    case "nothing":
      return effects.length === 0 ? null : wordsOf(effects)
    case "count": {
      const found = effects.filter(({ kind }) => kind === expected.kind)
      return found.length === expected.count
        ? null
        : [`${found.length} ${expected.kind}${found.length === 1 ? "" : "s"}`, ...wordsOf(found)]
    }
    default: {
      const found = effects.find((effect) => !taken.has(effect) && effect.matches(expected))
      if (found === undefined) return wordsOf(effects.filter(({ kind }) => kind === expected.verb))
      taken.add(found)
      return null
    }
  }
}

const endOf = ({ status, error }: DryRunReport): string => {
  const verb = status === "rejected" ? "reject" : status
  return error === null ? verb : `${verb} ${error}`
}

/** What a write stores after its trigger was asked, or how that ended. */
const storedBy = (report: DryRunReport, { event, value = "", meta, ttlMs, nowMs }: Given): ActualEntry | string => {
  if (event !== "BEFORE_WRITE") return `${event} stores nothing; BEFORE_WRITE does`
  if (report.status !== "ok") return endOf(report)
  const asGiven = { value: fromValue(value), ttlMs, ...meta, tags: meta.tags.map(asText) }
  const { result } = report
  if (typeof result === "string" || result instanceof Uint8Array) return { ...asGiven, value: result }
  const change = beforeChangeOf(result as LuaValue, nowMs)
  if (change === null || typeof change === "string") return asGiven
  const { expiresAtMs, value: changed, tags = meta.tags, ...rest } = change
  return {
    ...asGiven,
    ...rest,
    tags: tags.map(asText),
    ...(changed === undefined ? {} : { value: fromValue(changed) }),
    ...(expiresAtMs === undefined ? {} : { ttlMs: expiresAtMs - nowMs })
  }
}

const entryMatches = (expected: StatedEntry, actual: ActualEntry): boolean => {
  const { value, ttlMs, metadata, tags, cost } = expected
  return (
    (value === undefined || matchesStated(value, actual.value)) &&
    (ttlMs === undefined || ttlMs === actual.ttlMs) &&
    (metadata === undefined || includes(metadata, actual.metadata)) &&
    (tags === undefined || includes(tags, actual.tags)) &&
    (cost === undefined || cost === actual.cost)
  )
}

interface ActualEntry {
  readonly value: Output
  readonly ttlMs: number | null
  readonly metadata: Value | null
  readonly tags: readonly string[]
  readonly cost: number
}

/** Text is compared with what GET would show, JSON with the structure. */
const matchesStated = (stated: Stated, actual: unknown): boolean =>
  "text" in stated ? stated.text === textOf(actual) : includes(stated.json, actual)

/** Whether `actual` has everything that `expected` names. */
const includes = (expected: unknown, actual: unknown): boolean => {
  if (typeof expected !== "object" || expected === null) {
    return expected === (typeof actual === "bigint" || actual instanceof Number ? Number(actual) : actual)
  }
  if (Array.isArray(expected)) {
    // Lua has one empty table, which comes out as an object.
    if (expected.length === 0 && isObject(actual)) return Object.keys(actual).length === 0
    return (
      Array.isArray(actual) &&
      actual.length === expected.length &&
      expected.every((item, at) => includes(item, actual[at]))
    )
  }
  if (actual instanceof Map) return includes(expected, Object.fromEntries(actual))
  return isObject(actual) && Object.entries(expected).every(([name, item]) => includes(item, actual[name]))
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

const textOf = (actual: unknown): string => {
  if (typeof actual === "string") return actual
  return actual instanceof Uint8Array ? asText(Buffer.from(actual).toString("latin1")) : toJson(actual as Nested)
}

/** A word of a line: in quotes where it would not be read as one. */
const word = (text: string): string => (/^(?!json:)[^\s"{[][^\s]*$/.test(text) ? text : JSON.stringify(text))

const valueWords = (value: unknown): string => {
  if (typeof value === "string" || value instanceof Uint8Array) return word(textOf(value))
  const json = toJson(value as Nested)
  return isObject(value) || Array.isArray(value) ? json : `json:${json}`
}

const optionWords = ({ ttlMs, metadata, tags, cost }: ActualEntry): string =>
  [
    ttlMs === null ? "" : ` ttl ${ttlMs / 1000}`,
    metadata === null ? "" : ` metadata ${toJson(metadata)}`,
    tags.length === 0 ? "" : ` tags ${tags.join(",")}`,
    cost === 0 ? "" : ` cost ${cost}`
  ].join("")

const fromJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
