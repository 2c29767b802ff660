/**
 * Laws 1 to 9 and 12 as properties over random schedules: random triggers, random operations of clients, time that
 * moves, entries that are evicted, machines that go and come back, and listeners that re-enter.
 *
 * One schedule is run on the real engine and on the plain one: both must write the same transcript. It holds the result
 * of each operation, what was published in its order, the webhooks and log lines with their ids, the records of TRIGGER
 * LOG, the whole store after each operation, and what every trigger has been counted for. The event log of the real one,
 * replayed, must give its store (law 1).
 *
 * Deadlines are near and time never runs far ahead of what has been expired, so that entries due in the same millisecond
 * expire in the order in which they were scheduled, on the plain keyspace as on the wheel.
 */
import { expect, it } from "vitest"
import { allCauses, Cause, causeNames } from "../../src/kernel/Cause.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { EntrySource, entryBytes, type Keyspace, SetFlag } from "../../src/kernel/Keyspace.ts"
import { noMeta, type Value } from "../../src/kernel/Value.ts"
import { Trigger, triggerEventNames } from "../../src/triggers/Trigger.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"
import { forAllSeeds, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import {
  luaOf,
  type PlainDefinition,
  PlainEngine,
  type PlainLimits,
  plainIntensity,
  type Step
} from "./PlainTriggers.ts"

const keys = ["a", "b", "ab", "ba", "c0", "c1", "c2"]
const values: readonly Value[] = ["a", "b", "cc", 7, null, { depth: 9 }]
const names = ["t1", "t2", "t3", "t4", "t5"]
const patterns = ["*", "*", "a*", "b*", "a", "ab", "c*", "c1"]
const maxBytes = 6 * (entryBytes + 12)
const startMs = 1_000_000
const operationsMax = 40
const callBacksMax = 3 // operations of listeners for one of a client: without a bound two could play ball for ever
const readingsMax = 1_000_000 // of the clock in one schedule; a cascade without an end is then a failure, not a hang
const fuelMax = 125_000 // units a run may burn; a kill burns 250,000 more, all others of an operation together less than one

/** What a schedule needs of an engine, real or plain. */
interface Subject {
  readonly clock: { ms: number; nowMs(): number }
  /** Called with what is emitted. */
  hear: (channel: string, payload: string) => void
  get(key: string): Value | undefined
  set(key: string, value: Value, expiresAtMs?: number, flags?: number): boolean
  delete(key: string, cause?: typeof Cause.delete | typeof Cause.invalidate): boolean
  expireAt(key: string, expiresAtMs: number): boolean
  flush(): number
  advance(nowMs: number): void
  version(): number
  define(definition: PlainDefinition): void
  remove(name: string): void
  enable(name: string, isEnabled: boolean): void
  /** Other steps for the events of a trigger, without consequences; null for none any more. */
  shadow(name: string, steps: readonly Step[] | null): void
  /** Several changes that are one, or that are one operation. */
  together(isOneChange: boolean, change: () => void): void
  /** Whoever changes entries on behalf of another instance. */
  setOrigin(origin: EventOrigin | null): void
  /** Why the last write or delete was refused; null where it was not. */
  refusal(): string | null
  takeMachine(): void
  /** The same again, or a new one in its place. */
  giveMachine(isNew: boolean): void
  /** The store and the counts, and what has been recorded and sent since this was last asked. */
  state(): unknown
}

/** Machines are made once: that takes longer than a whole schedule. */
let lastEngine: Engine | undefined

const makeReal = (maxEntries: number, limits: PlainLimits): Subject & { readonly engine: Engine } => {
  const engine = makeEngine({
    maxEntries,
    maxBytes,
    fuelMax,
    after: lastEngine,
    intensity: {
      killsMax: plainIntensity.killed,
      timeoutsMax: plainIntensity.timeout,
      errorsMax: plainIntensity.error
    },
    cascade: { depth: limits.depth, runs: limits.runs, fuel: (limits.burns - 0.02) * fuelMax },
    ports: { emits: { publish: (channel, payload) => subject.hear(channel, payload) } }
  })
  lastEngine = engine
  // The plain triggers have no sources: compiling and committing cost them nothing.
  engine.runner.operation.charge = () => {}
  const { keyspace, clock, registry, log } = engine
  const { nowMs } = clock
  clock.nowMs = () => {
    if (++readings > readingsMax) throw new Error("the schedule does not come to an end")
    return nowMs()
  }
  let readings = 0
  if (engine.workers.length === 0) {
    engine.trigger({ name: "warm", source: "return 1" })
    keyspace.set("a", "v")
    registry.remove("warm")
    return makeReal(maxEntries, limits)
  }
  const [worker] = engine.workers
  if (worker === undefined) throw new Error("no machine was opened")
  keyspace.log.open(10_000, allCauses)
  let taken = worker.vm
  let recorded = 0
  const records = () => {
    const latest = log.recent(log.total - recorded).reverse()
    recorded = log.total
    return latest
  }
  const subject: Subject & { readonly engine: Engine } = {
    engine,
    clock,
    hear: () => {},
    get: (key) => keyspace.get(key),
    set: (key, value, expiresAtMs = 0, flags = 0) =>
      flags === asFill
        ? keyspace.fill(keyspace.lease(key), value, expiresAtMs, noMeta, EntrySource.loaded)
        : keyspace.set(key, value, expiresAtMs, noMeta, flags),
    delete: (key, cause) => keyspace.delete(key, cause),
    expireAt: (key, expiresAtMs) => keyspace.expireAt(key, expiresAtMs),
    flush: () => keyspace.flush(),
    advance: (nowMs) => void keyspace.advance(nowMs, Number.MAX_SAFE_INTEGER),
    version: () => keyspace.version,
    define: ({ steps, ...definition }) =>
      engine.trigger({ ...definition, events: eventsOf(definition.events), source: luaOf(steps) }),
    enable: (name, isEnabled) => limitByFuel(registry.enable(name, isEnabled)),
    shadow: (name, steps) => {
      if (steps === null) registry.dropShadow(name)
      else limitByFuel(registry.shadow(name, { source: luaOf(steps) }))
    },
    together: (isOneChange, change) => together(keyspace, isOneChange, change),
    setOrigin: (origin) => {
      keyspace.origin = origin
    },
    refusal: () => shownRefusal(keyspace.refusal),
    remove: (name) => registry.remove(name),
    takeMachine: () => {
      taken = worker.vm
      worker.vm = null
    },
    giveMachine: (isNew) => {
      if (isNew) worker.adopt(() => {})
      else worker.vm = taken
    },
    state: () => {
      const store: unknown[] = []
      keyspace.scan(0, 1000, ({ key, value, expiresAtMs, version }) =>
        store.push([key, shown(value), expiresAtMs, version])
      )
      keyspace.checkInvariants()
      return {
        store: store.sort(),
        size: keyspace.size,
        version: keyspace.version,
        origin: keyspace.origin,
        stats: { ...keyspace.stats },
        webhooks: engine.webhooks
          .splice(0)
          .map(
            ({ id, url, body, trigger, event, key, createdAtMs }) =>
              `${id} ${url} ${body} ${trigger} ${event} ${key} ${createdAtMs}`
          ),
        lines: engine.lines
          .splice(0)
          .map(({ message, trigger, event, cascade, atMs }) => `${message} ${trigger} ${event} ${cascade} ${atMs}`),
        records: records().map(
          ({ kind, trigger, event, key, sequence, atMs, count }) =>
            `${kind} ${trigger} ${event} ${key} ${sequence} ${atMs}${kind === "skipped:budget" ? ` ${count}` : ""}`
        ),
        triggers: [...registry.all()].flatMap(withShadow).map(({ label, stats, quarantine }) => [
          label,
          {
            ...counted({ ...stats, ...stats.failures, ...prefixed(stats.skips) }),
            isQuarantined: quarantine.reason !== null
          }
        ])
      }
    }
  }
  return subject
}

/** In the place of flags: what is set is a copy that a loader had. */
const asFill = 64

/** Or it would be limited by the clock. */
const limitByFuel = (made: object): void => {
  if (made instanceof Trigger) Object.assign(made, { limits: { ...made.limits, fuelMax } })
}

const together = (
  keyspace: Pick<Keyspace, "hold" | "release" | "beginOperation" | "endOperation">,
  isOneChange: boolean,
  change: () => void
) => {
  if (isOneChange) {
    const wasHeld = keyspace.hold()
    change()
    keyspace.release(wasHeld)
  } else {
    keyspace.beginOperation()
    change()
    keyspace.endOperation()
  }
}

const withShadow = (trigger: Trigger): Trigger[] => (trigger.shadow === null ? [trigger] : [trigger, trigger.shadow])

const eventsOf = (events: readonly string[]) => triggerEventNames.filter((event) => events.includes(event))

/** What the engine says for itself, of a trigger that is FAILCLOSED; what a trigger says is told in its words. */
const shownRefusal = (refusal: string | null) => (refusal?.startsWith("trigger '") ? "closed" : refusal)

const makePlain = (maxEntries: number, limits: PlainLimits): Subject => {
  const clock = { ms: startMs, nowMs: () => clock.ms }
  const plain = new PlainEngine({
    maxEntries,
    maxBytes,
    clock,
    limits,
    publish: (channel, payload) => subject.hear(channel, payload)
  })
  const { keyspace } = plain
  const subject: Subject = {
    clock,
    hear: () => {},
    get: (key) => keyspace.get(key),
    set: (key, value, expiresAtMs = 0, flags = 0) =>
      flags === asFill
        ? keyspace.fill(keyspace.lease(key), value, expiresAtMs, noMeta, EntrySource.loaded)
        : keyspace.set(key, value, expiresAtMs, noMeta, flags),
    delete: (key, cause = Cause.delete) => keyspace.delete(key, cause, false),
    expireAt: (key, expiresAtMs) => keyspace.expireAt(key, expiresAtMs),
    flush: () => keyspace.flush(),
    advance: (nowMs) => keyspace.advance(nowMs),
    version: () => keyspace.version,
    define: (definition) => plain.set(definition),
    remove: (name) => plain.remove(name),
    enable: (name, isEnabled) => plain.enable(name, isEnabled),
    shadow: (name, steps) => plain.shadow(name, steps),
    together: (isOneChange, change) => together(keyspace, isOneChange, change),
    setOrigin: (origin) => {
      keyspace.origin = origin
    },
    refusal: () => keyspace.refusal,
    takeMachine: () => {
      plain.isMachineGone = true
    },
    giveMachine: () => {
      plain.isMachineGone = false
    },
    state: () => ({
      store: keyspace
        .live()
        .map(({ key, value, expiresAtMs, version }) => [key, shown(value), expiresAtMs, version])
        .sort(),
      size: keyspace.size,
      version: keyspace.version,
      origin: keyspace.origin,
      stats: { ...keyspace.stats },
      webhooks: plain.webhooks.splice(0),
      lines: plain.lines.splice(0),
      records: plain.records.splice(0),
      triggers: plain.statsOf().map(([name, stats, isQuarantined]) => [name, { ...counted(stats), isQuarantined }])
    })
  }
  return subject
}

const shown = (value: Value): string => JSON.stringify(value)

const countedNames =
  /^(runs|writes|deletes|emits|webhooks|webhooksSuppressed|logs|rejects|error|timeout|memory|killed|rejected|skipped:.*)$/

const counted = (stats: object): object =>
  Object.fromEntries(
    Object.entries(stats)
      .filter(([name, count]) => countedNames.test(name) && count !== 0)
      .sort()
  )

const prefixed = (skips: object): object =>
  Object.fromEntries(Object.entries(skips).map(([kind, count]) => [`skipped:${kind}`, count]))

// ---- schedules

const stepOf = (random: Random): Step => {
  const key = random.pick(keys)
  const keyOrOwn = random.oneIn(3) ? null : key
  const kind = random.below(100)
  if (kind < 22) {
    const ttlMs = random.oneIn(3) ? random.between(1, 12) : 0
    return { do: "write", key: keyOrOwn, value: random.oneIn(10) ? "n" : random.pick(["a", "b", "cc"]), ttlMs }
  }
  if (kind < 32) return { do: "delete", key: keyOrOwn }
  if (kind < 44) return { do: "tell" }
  if (kind < 52)
    return { do: "call back", operation: random.pick(["set", "delete", "get", "define", "remove"]) + random.pick(keys) }
  if (kind < 57) return { do: "webhook" }
  if (kind < 62) return { do: "log" }
  if (kind < 70) return { do: "copy", from: random.pick(keys), to: keyOrOwn }
  if (kind < 75) return { do: "count", key }
  if (kind < 79) return { do: "store depth", key }
  if (kind < 84) return { do: "toggle", key }
  if (kind < 88) return { do: "only if", value: random.pick(["a", "b"]) }
  if (kind < 91) return { do: "chain", prefix: random.pick(["c", "a", "d"]) }
  if (kind < 94) return beforeStepOf(random)
  if (kind < 97) return { do: "error" }
  if (kind < 98) return { do: "memory" }
  return { do: random.oneIn(6) ? "killed" : "timeout" }
}

const beforeStepOf = (random: Random): Step =>
  random.oneIn(2)
    ? { do: "refuse", why: random.pick(["no", "not now"]) }
    : { do: "rewrite", value: random.pick(["a", "b", "rw"]), ttlMs: random.oneIn(3) ? random.between(1, 12) : 0 }

/** A trigger that is asked: mostly for a reason, sometimes one that may not do what it does. */
const gateOf = (random: Random): PlainDefinition => ({
  name: random.pick(names),
  pattern: random.pick(patterns),
  events: random.pick([
    ["BEFORE_WRITE"],
    ["BEFORE_DELETE"],
    ["BEFORE_WRITE", "BEFORE_DELETE"],
    ["ON_WRITE", "BEFORE_WRITE"]
  ]),
  priority: random.between(-1, 1),
  failClosed: random.oneIn(3),
  whenChanged: random.oneIn(4),
  sample: random.oneIn(6) ? 2 : 1,
  steps: Array.from({ length: random.between(1, 3) }, (): Step => {
    if (random.oneIn(3)) return { do: "only if", value: random.pick(["a", "b"]) }
    return random.oneIn(3) ? stepOf(random) : random.oneIn(3) ? { do: "tell" } : beforeStepOf(random)
  })
})

/** In a wild schedule every other trigger ends in a loop, so that budgets are met and triggers quarantined. */
const definitionOf = (random: Random, isWild: boolean): PlainDefinition =>
  random.oneIn(4) ? gateOf(random) : reactionOf(random, isWild)

const reactionOf = (random: Random, isWild: boolean): PlainDefinition => {
  const events = reactions.filter((event) => random.oneIn(event === "ON_WRITE" ? 1.3 : 3))
  if (events.length === 0) events.push("ON_WRITE")
  const isolate = random.oneIn(6)
  return {
    name: random.pick(names),
    pattern: events.includes("ON_FLUSH") ? "*" : random.pick(patterns),
    events,
    whenChanged: random.oneIn(6),
    sample: random.oneIn(8) ? random.between(2, 3) : 1,
    includeFill: events.includes("ON_WRITE") && random.oneIn(5),
    includeFlush: events.includes("ON_DELETE") && random.oneIn(5),
    scope: random.oneIn(4) ? "local" : "all",
    isEnabled: !random.oneIn(10),
    isolate,
    priority: random.between(-1, 1),
    steps: Array.from({ length: random.between(1, 4) }, (): Step => {
      return isolate && random.oneIn(3) ? { do: "remember", key: random.pick(keys) } : stepOf(random)
    }).concat(isWild && random.oneIn(2) ? { do: random.oneIn(3) ? "killed" : "timeout" } : [])
  }
}

const reactions = ["ON_WRITE", "ON_READ", "ON_DELETE", "ON_EXPIRE", "ON_EVICT", "ON_TOUCH", "ON_FLUSH"]

/** One random operation of a client; answers what it came to. */
const operate = (subject: Subject, random: Random, isWild: boolean): unknown => {
  if (random.oneIn(20)) {
    const said: unknown[] = []
    subject.together(random.oneIn(2), () => {
      for (let count = random.between(2, 5); count > 0; count--) said.push(operateOnce(subject, random, isWild))
    })
    return said
  }
  return operateOnce(subject, random, isWild)
}

const operateOnce = (subject: Subject, random: Random, isWild: boolean): unknown => {
  const { clock } = subject
  const key = random.pick(keys)
  const kind = random.below(100)
  if (kind < 40) {
    const value = random.pick(values)
    const expiresAtMs = random.oneIn(3) ? clock.ms + random.between(1, 12) : 0
    const flags = random.oneIn(8) ? SetFlag.keepTtl : random.oneIn(12) ? asFill : 0
    return ["set", key, subject.set(key, value, expiresAtMs, flags), subject.refusal()]
  }
  if (kind < 55) return ["get", key, shown(subject.get(key) ?? "none")]
  if (kind < 65)
    return ["delete", key, subject.delete(key, random.oneIn(4) ? Cause.invalidate : Cause.delete), subject.refusal()]
  if (kind < 70)
    return ["expireAt", key, subject.expireAt(key, random.oneIn(3) ? 0 : clock.ms + random.between(-2, 12))]
  if (kind < 88) {
    if (random.oneIn(60)) {
      for (let step = random.between(20, 60); step > 0; step--) {
        clock.ms += 20 // up to a second and more, in which quarantines end
        subject.advance(clock.ms)
      }
    } else clock.ms += random.between(1, 8)
    if (!random.oneIn(4)) subject.advance(clock.ms)
    return ["time", clock.ms]
  }
  if (kind < 89) return ["flush", subject.flush()]
  if (kind < 91) {
    subject.setOrigin({ depth: 0, peer: "other", ...(random.oneIn(4) ? { isDerived: true } : {}) })
    const result = random.oneIn(2)
      ? subject.delete(key, Cause.invalidate)
      : subject.set(key, random.pick(values), 0, asFill)
    subject.setOrigin(null)
    return ["by a peer", key, result]
  }
  if (kind < 93) {
    const steps = Array.from({ length: random.between(1, 3) }, () => stepOf(random))
    subject.shadow(random.pick(names), random.oneIn(5) ? null : steps)
    return "shadow"
  }
  if (kind < 95) {
    subject.define(definitionOf(random, isWild))
    return "define"
  }
  if (kind < 96) {
    subject.enable(random.pick(names), random.oneIn(2))
    return "enable or disable"
  }
  if (kind < 98) {
    subject.remove(random.pick(names))
    return "remove"
  }
  subject.takeMachine()
  const result = subject.set(key, "a")
  subject.giveMachine(random.oneIn(20)) // making one takes as long as a schedule
  return ["without a machine", key, result]
}

/** Runs one schedule; the transcript says everything that can be seen of it. */
const transcript = (subject: Subject, random: Random): unknown[] => {
  const said: unknown[] = []
  let callBacks = 0
  subject.hear = (channel, payload) => {
    said.push([channel, payload, subject.version()])
    if (channel !== "call back" || ++callBacks > callBacksMax) return
    const [, operation, key = ""] = /^(set|delete|get|define|remove)(.*)$/.exec(payload) ?? []
    if (operation === "set") said.push(subject.set(key, "back"))
    else if (operation === "delete") said.push(subject.delete(key))
    else if (operation === "get") said.push(shown(subject.get(key) ?? "none"))
    else if (operation === "define") {
      subject.set(key, "waits")
      subject.define({ name: "t1", pattern: "*", events: ["ON_WRITE"], priority: 0, steps: [{ do: "tell" }] })
    } else {
      subject.set(key, "waits")
      subject.remove("t2")
    }
  }
  const isWild = random.oneIn(12)
  let expiredMs = startMs
  for (let i = random.between(1, 4); i > 0; i--) subject.define(definitionOf(random, isWild))
  for (let i = random.between(1, operationsMax); i > 0; i--) {
    callBacks = 0
    said.push(operate(subject, random, isWild))
    if (subject.clock.ms - expiredMs > 30) {
      subject.advance(subject.clock.ms)
      expiredMs = subject.clock.ms
    }
    said.push(subject.state())
  }
  return said
}

/** The machines are used for one keyspace after the other, each of which has a number in ids; the plain one has none. */
const unnumbered = (said: unknown[]): unknown[] => JSON.parse(JSON.stringify(said).replace(/boot\.\d+-/g, "boot-"))

/** Law 1: what the log says happened, done again to nothing, is the store. */
const replayed = ({ keyspace }: Engine): unknown[] => {
  const store = new Map<string, unknown>()
  for (const { cause, key, value, expiresAtMs, version } of keyspace.log.recent()) {
    if (cause === Cause.flush) store.clear()
    else if (cause === Cause.read) continue
    else if (value === undefined) {
      if (!store.delete(key)) throw new Error(`${causeNames[cause]} of '${key}', which was not there`)
    } else store.set(key, [key, shown(value), expiresAtMs, version])
  }
  return [...store.values()].sort()
}

const stored = ({ keyspace, clock }: Engine): unknown[] => {
  const store: unknown[] = []
  clock.ms = startMs // so that entries past their deadline are shown as well
  keyspace.scan(0, 1000, ({ key, value, expiresAtMs, version }) =>
    store.push([key, shown(value), expiresAtMs, version])
  )
  return store.sort()
}

const schedules = 16_000 // some 55 s of the 90 that a heavy suite may take

/** What all schedules together came to. */
const happened: Record<string, number> = {}

it("what a schedule of operations and triggers comes to is what the plain engine says", {
  timeout: propertyTimeoutMs
}, async () => {
  await forAllSeeds(schedules, (random) => {
    const maxEntries = random.between(2, 8)
    const limits = { depth: random.between(0, 4), runs: random.between(3, 12), burns: 3 }
    const seed = random.below(2 ** 31)
    const plain = unnumbered(transcript(makePlain(maxEntries, limits), new Random(seed)))
    const real = makeReal(maxEntries, limits)
    try {
      const actual = unnumbered(transcript(real, new Random(seed)))
      const first = plain.findIndex((said, i) => JSON.stringify(actual[i]) !== JSON.stringify(said))
      expect(actual[first]).toEqual(plain[first])
      expect(actual.length).toBe(plain.length)
      expect(replayed(real.engine)).toEqual(stored(real.engine))
      count(real.engine)
    } finally {
      for (const name of names) real.remove(name)
    }
  })
})

it.skipIf(scheduleCount(schedules) < schedules)("and the schedules get everywhere", () => {
  const missing = Object.entries(happened).filter(([, times]) => times === 0)
  expect(missing).toEqual([])
})

const count = ({ runner, keyspace }: Engine) => {
  const { failuresOf, skipsOf, runs, rejects, shadowRuns, effects } = runner.counters
  const { webhooksSuppressed } = effects
  const { refused: _, sinkErrors: __, ...changes } = keyspace.stats // no schedule stores what is too large, or throws
  for (const [name, times] of Object.entries({
    runs,
    rejects,
    shadowRuns,
    webhooksSuppressed,
    ...failuresOf,
    ...skipsOf,
    ...changes
  })) {
    happened[name] = (happened[name] ?? 0) + times
  }
}
