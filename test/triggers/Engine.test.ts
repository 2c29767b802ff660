/** The triggers of many keyspaces side by side: whatever one of them does, the others are as if they were alone. */
import { describe, expect, it } from "vitest"
import { EventBus, Tenant, tenantLimitsDefault } from "../../src/cache/index.ts"
import { Keyspace } from "../../src/kernel/index.ts"
import { type LuaVm, type SandboxService, VmPool, VmWorker } from "../../src/sandbox/index.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "../../src/triggers/Cascade.ts"
import type { TriggerLine } from "../../src/triggers/Effects.ts"
import { Engine } from "../../src/triggers/Engine.ts"
import type { KeyspaceTriggers } from "../../src/triggers/KeyspaceTriggers.ts"
import { intensityDefault } from "../../src/triggers/Quarantine.ts"
import { Trigger, type TriggerInput } from "../../src/triggers/Trigger.ts"
import { TooManyTriggers, TooMuchSource, TriggersClosed } from "../../src/triggers/TriggerError.ts"
import type { Webhook } from "../../src/webhooks/index.ts"
import { forAllSeeds, type Random } from "../support/Random.ts"

interface House {
  readonly engine: Engine
  readonly bus: EventBus
  readonly workers: VmWorker[]
  /** All messages, as `channel payload`. */
  readonly heard: string[]
  readonly webhooks: Webhook[]
  /** What the server's log gets. */
  readonly lines: TriggerLine[]
  readonly clock: { ms: number }
  readonly main: { readonly keyspace: Keyspace; readonly triggers: KeyspaceTriggers }
  readonly tenant: (id: string, prefix?: string) => { tenant: Tenant; keyspace: Keyspace; triggers: KeyspaceTriggers }
}

const house = ({
  machinesLentMax = 64,
  cascade = {}
}: {
  machinesLentMax?: number
  cascade?: Partial<CascadeLimits>
} = {}): House => {
  const clock = { ms: 1_000 }
  const bus = new EventBus()
  const heard: string[] = []
  const webhooks: Webhook[] = []
  const lines: TriggerLine[] = []
  bus.psubscribe("*", { onMessage: (channel, payload) => heard.push(`${channel} ${payload}`) })
  const workers: VmWorker[] = []
  const engine = new Engine({
    origin: "boot",
    cascade: { ...cascadeLimitsDefault, ...cascade },
    intensity: intensityDefault,
    sandbox: plainSandbox(workers),
    webhooks: { offer: (webhook) => webhooks.push(webhook) > 0, lastRefusal: "" },
    bus,
    journal: (line) => lines.push(line) > 0,
    warming: { warmLater: () => "no loader" },
    nowMs: () => clock.ms,
    monotonicMs: () => 0,
    machinesLentMax
  })
  const open = () =>
    new Keyspace({
      maxEntries: 1_000,
      maxBytes: 1 << 24,
      clock: { nowMs: () => clock.ms },
      sink: engine,
      gate: engine,
      wake() {}
    })
  const keyspace = open()
  const main = { keyspace, triggers: engine.ofMain(keyspace) }
  const tenant: House["tenant"] = (id, prefix = id) => {
    const made = new Tenant(id, prefix, open(), tenantLimitsDefault, clock.ms)
    return { tenant: made, keyspace: made.keyspace, triggers: engine.ofTenant(made) }
  }
  return { engine, bus, workers, heard, webhooks, lines, clock, main, tenant }
}

/** As the dispatcher says it, after so many attempts. */
const giveUp = (engine: Engine, webhook: Webhook, attempt: number): void =>
  engine.onGivenUp({ delivery: { ...webhook, attempt }, destination: "http://hooks.example", reason: "status 503" })

const givenUp = (message: string) => {
  const event = { trigger: "t", event: "ON_WRITE", sequence: 1, key: "k" }
  return { id: 1, atMs: 9_000, ...event, kind: "failed:webhook", message, count: 1 }
}

/** Machines without processes. */
const plainSandbox = (workers: VmWorker[]): SandboxService => ({
  pool: (make: () => LuaVm) => new VmPool({ make, spares: 0 }),
  open: (pool, id) => {
    const worker = new VmWorker(id, pool)
    workers.push(worker)
    return worker
  },
  workers: () => workers,
  childSpec: undefined as never // nobody mounts it
})

const set = ({ registry }: KeyspaceTriggers, input: Partial<TriggerInput> & Pick<TriggerInput, "source">): Trigger => {
  const answer = registry.set({ name: "t", pattern: "*", events: ["ON_WRITE"], ...input })
  if (answer instanceof Trigger) return answer
  throw answer
}

describe("tenants with the same keys and the same names of triggers", () => {
  it("run their own triggers on their own keys, bare, and have their own records, lines, versions and graphs", () => {
    const { main, tenant, heard, lines } = house()
    const [a, b] = [tenant("a"), tenant("b", "team:b")]
    const source = (who: string) => `
      if event.key == "bad" then error("${who} ails") end
      cache.log("audit", { who = "${who}", read = cache.get("k") or "none" })
      cache.emit("told", "${who} " .. event.key .. " " .. (cache.get("k") or "none"))
      if event.key == "k" then cache.set("made by " .. "${who}", 1) end`
    set(main.triggers, { source: source("main") })
    set(a.triggers, { source: source("a") })
    set(b.triggers, { source: source("b") })
    set(b.triggers, { source: `${source("b")} -- again` })
    a.keyspace.set("k", "secret of a")
    b.keyspace.set("bad", "x")
    b.keyspace.set("other", "x")
    expect(heard).toEqual(["a:told a k secret of a", "a:told a made by a secret of a", "team:b:told b other none"])
    expect([main.keyspace.size, a.keyspace.size, b.keyspace.size]).toEqual([0, 2, 2])
    expect(a.triggers.records.recent(9)).toEqual([])
    expect(b.triggers.records.recent(9)).toMatchObject([{ trigger: "t", key: "bad", message: "line 2: b ails" }])
    expect(a.triggers.logs.read("audit").map(({ key, trigger, cascade }) => [key, trigger, cascade])).toEqual([
      ["k", "t", "boot:a:1"],
      ["made by a", "t", "boot:a:1"]
    ])
    expect(main.triggers.logs.list()).toEqual([])
    expect(lines.map(({ tenant, key }) => [tenant, key])).toEqual([
      ["a", "k"],
      ["a", "made by a"],
      ["b", "other"]
    ])
    const [own, others] = [a, b].map(({ triggers }) => triggers.registry.histories())
    expect([own?.map(({ live }) => live), others?.map(({ live }) => live)]).toEqual([[1], [2]])
    expect(a.triggers.registry.get("t")?.stats.runs).toBe(2)
  })

  it("are told apart in ids, whatever they and their triggers are called", () => {
    const { main, tenant, webhooks } = house()
    const source = 'cache.webhook("http://a", 1)'
    const names = ["t", "1-t", "5-t", "1:t", "a:1-t"]
    for (const { triggers, keyspace } of [main, tenant("a"), tenant("a-1"), tenant("a.1"), tenant("1"), tenant("b1")]) {
      for (const name of names) set(triggers, { name, source })
      for (let n = 0; n < 6; n++) keyspace.set("k", "v")
    }
    const ids = webhooks.map(({ id }) => id)
    expect(ids).toHaveLength(6 * 6 * names.length)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.slice(0, 2)).toEqual(["boot-1-t-1", "boot-1-1-t-1"])
    expect(ids).toContain("boot:a-1:6-t-1")
  })

  it("hear of the webhooks of their own that are given up", () => {
    const { engine, main, tenant, webhooks, clock } = house()
    const [a, b] = [tenant("a"), tenant("b")]
    const all = [main, a, b]
    for (const { triggers, keyspace } of all) {
      set(triggers, { source: 'cache.webhook("http://hooks.example/?key=secret", 1)' })
      keyspace.set("k", "v")
    }
    clock.ms = 9_000
    for (const [n, webhook] of webhooks.entries()) giveUp(engine, webhook, n + 1)
    expect(all.map(({ triggers }) => triggers.records.recent(9))).toEqual([
      [givenUp("given up after 1 attempt at http://hooks.example: status 503 (webhook boot-1-t-1)")],
      [givenUp("given up after 2 attempts at http://hooks.example: status 503 (webhook boot:a:1-t-1)")],
      [givenUp("given up after 3 attempts at http://hooks.example: status 503 (webhook boot:b:1-t-1)")]
    ])
  })

  it("hear of no webhook of a tenant that had their id before", () => {
    const { engine, main, tenant, webhooks, clock } = house()
    const before = tenant("a")
    set(before.triggers, { source: 'cache.webhook("http://hooks.example", 1)' })
    before.keyspace.set("k", "v")
    engine.closeTenant(before.tenant)
    giveUp(engine, webhooks[0] as Webhook, 1) // there is nobody to hear of it
    clock.ms++
    const after = tenant("a")
    giveUp(engine, webhooks[0] as Webhook, 1)
    expect([main, before, after].map(({ triggers }) => triggers.records.total)).toEqual([0, 0, 0])
  })

  it("try things out on their own keys, and nothing of one's dry run is left for the next one's", () => {
    const { main, tenant } = house()
    const [a, b] = [tenant("a"), tenant("b")]
    a.keyspace.set("k", "of a")
    const event = { event: "ON_WRITE", key: "k", value: "v" } as const
    const source = 'left = (left or 0) + 1 cache.webhook("http://a", 1) return { left, cache.get("k") }'
    const reports = [a, b, main].map(({ triggers }) => triggers.inBytes.test({ source }, event))
    expect(reports).toMatchObject([
      { result: [1, "of a"], webhooks: [{ id: "boot:a:0-test-1" }] },
      { result: [1], webhooks: [{ id: "boot:b:0-test-1" }] },
      { result: [1], webhooks: [{ id: "boot-0-test-1" }] }
    ])
  })
})

describe("operations of two keyspaces that overlap", () => {
  it("have a budget each, and what one of them sends leaves when it is over", () => {
    const { tenant, heard } = house({ cascade: { runs: 3 } })
    const [a, b] = [tenant("a"), tenant("b")]
    const source = 'cache.emit("x", event.key) cache.set(event.key .. "+", 1)'
    for (const { triggers } of [a, b]) set(triggers, { source })
    a.keyspace.beginOperation()
    a.keyspace.set("a", "v") // the client's own, and three that came of it
    b.keyspace.beginOperation()
    b.keyspace.set("b", "v")
    expect(heard).toEqual([])
    a.keyspace.set("A", "v") // has used up its runs
    b.keyspace.endOperation()
    expect(heard).toEqual(["b:x b", "b:x b+", "b:x b++", "b:x b+++"])
    expect(a.triggers.records.recent(9)).toEqual([])
    heard.length = 0
    a.keyspace.endOperation()
    expect(heard).toEqual(["a:x a", "a:x a+", "a:x a++", "a:x a+++", "a:x A"])
    const cut = (of: typeof a) => of.triggers.records.recent(9).map(({ kind, count }) => `${kind} ${count}`)
    expect([cut(a), cut(b)]).toEqual([["skipped:budget 2"], ["skipped:budget 1"]])
  })

  it("begin with a full budget where somebody who hears of one changes the other's keys", () => {
    const { bus, tenant, heard } = house({ cascade: { runs: 2 } })
    const [a, b] = [tenant("a"), tenant("b")]
    for (const { triggers } of [a, b])
      set(triggers, { source: 'cache.emit("x", event.key) cache.set(event.key .. "+", 1)' })
    bus.subscribe("a:x", { onMessage: (_, key) => void b.keyspace.set(key, "v") })
    a.keyspace.set("k", "v")
    expect(heard.filter((each) => each.startsWith("a:"))).toEqual(["a:x k", "a:x k+", "a:x k++"])
    expect(heard.filter((each) => each.startsWith("b:x k ") || each === "b:x k")).toEqual(["b:x k"])
    expect(b.triggers.registry.get("t")?.stats.runs).toBe(9)
    expect(a.triggers.registry.get("t")?.stats.runs).toBe(3)
  })
})

describe("the machines of tenants", () => {
  it("are no more than may be lent, and who was parked runs again when it fires", () => {
    const { engine, tenant, workers, heard } = house({ machinesLentMax: 2 })
    const tenants = ["a", "b", "c"].map((id) => tenant(id))
    for (const { triggers } of tenants) set(triggers, { source: 'n = (n or 0) + 1 cache.emit("n", n .. event.key)' })
    expect([engine.yard.size, workers.length]).toEqual([0, 0])
    for (const { keyspace } of tenants) for (let i = 0; i < 2; i++) keyspace.set("k", "v")
    expect(heard).toEqual(["a:n 1k", "a:n 2k", "b:n 1k", "b:n 2k", "c:n 1k", "c:n 2k"])
    expect([engine.yard.size, engine.yard.parked, workers.length]).toEqual([2, 1, 2])
    heard.length = 0
    for (const { keyspace } of tenants) keyspace.set("k", "v")
    expect(heard).toEqual(["a:n 1k", "b:n 1k", "c:n 1k"])
    expect(tenants.flatMap(({ triggers }) => triggers.records.recent(9))).toEqual([])
  })

  it("of whoever runs often stay, and those that have been quiet are parked", () => {
    const { engine, tenant, heard } = house({ machinesLentMax: 3 })
    const busy = tenant("busy")
    set(busy.triggers, { source: 'n = (n or 0) + 1 cache.emit("n", n)' })
    for (let i = 0; i < 20; i++) {
      busy.keyspace.set("k", "v")
      const other = tenant(`other${i}`)
      set(other.triggers, { source: "return 1" })
      other.keyspace.set("k", "v")
    }
    // Its globals were lost once: when the hand first went round, all had run since they were opened, and it was the oldest.
    expect(heard.at(-1)).toBe("busy:n 17")
    expect([engine.yard.size, engine.yard.parked]).toEqual([3, 19])
  })

  it("are killed alone: the other's keeps its globals", () => {
    const { tenant, heard, workers, main } = house()
    const [a, b] = [tenant("a"), tenant("b")]
    for (const { triggers } of [main, a, b])
      set(triggers, { name: "n", pattern: "n", source: 'n = (n or 0) + 1 cache.emit("n", n)' })
    set(b.triggers, { name: "bad", pattern: "bad", source: "xpcall(error, function() while true do end end)" })
    for (const { keyspace } of [main, a, b]) keyspace.set("n", "v")
    b.keyspace.set("bad", "v")
    heard.length = 0
    for (const { keyspace } of [main, a, b]) keyspace.set("n", "v")
    expect(heard).toEqual(["n 2", "a:n 2", "b:n 1"])
    expect(workers.map(({ kills }) => kills)).toEqual([0, 0, 1])
    expect(workers[2]?.lastKill).toBe("trigger 'bad' of tenant 'b' did not stop")
    expect([a, b].map(({ triggers }) => triggers.records.recent(9).length)).toEqual([0, 1])
  })

  it("are given back with the tenant, who has no triggers from then on and gets none", () => {
    const { engine, tenant, heard, workers } = house()
    const a = tenant("a")
    for (const name of ["one", "two"]) set(a.triggers, { name, source: 'cache.emit("x", 1)' })
    a.keyspace.set("k", "v")
    expect([heard.length, engine.yard.size]).toEqual([2, 1])
    expect(engine.namesOf(a.tenant)).toEqual(["one", "two"])
    a.tenant.isOpen = false
    engine.closeTenant(a.tenant)
    a.keyspace.set("k", "v")
    expect([heard.length, engine.yard.size, workers[0]?.vm, a.triggers.registry.size]).toEqual([2, 0, null, 0])
    const refused = engine
      .ofTenant(a.tenant)
      .registry.set({ name: "t", pattern: "*", events: ["ON_WRITE"], source: "return 1" })
    expect(refused).toBeInstanceOf(TriggersClosed)
    expect(
      a.triggers.registry.set({ name: "t", pattern: "*", events: ["ON_WRITE"], source: "return 1" })
    ).toBeInstanceOf(TriggersClosed)
    expect([...engine.all()]).toHaveLength(1)
    const next = tenant("a")
    set(next.triggers, { source: "return 1" })
    next.keyspace.set("k", "v")
    expect([workers.length, engine.yard.size]).toEqual([1, 1])
    engine.ofTenant(a.tenant) // somebody still holds the one before
    expect(engine.namesOf(next.tenant)).toEqual(["t"])
  })

  it("make room for the main keyspace's where all together hold what they may", () => {
    const { engine, main, tenant, workers, heard } = house()
    const tenants = [tenant("a"), tenant("b")]
    for (const { triggers, keyspace } of tenants) {
      set(triggers, { source: 'cache.emit("x", 1)' })
      keyspace.set("k", "v")
    }
    const shared = workers[0]?.vm?.shared
    if (shared === undefined) throw new Error("no machine was lent")
    const filling = shared.bytesMax - shared.held
    shared.held += filling
    set(main.triggers, { source: 'cache.emit("x", 2)' })
    main.keyspace.set("k", "v")
    expect(heard).toEqual(["a:x 1", "b:x 1", "x 2"])
    expect([engine.yard.size, engine.yard.parked]).toEqual([0, 2])
    shared.held -= filling
    for (const { keyspace } of tenants) keyspace.set("k", "v")
    expect(heard.slice(3)).toEqual(["a:x 1", "b:x 1"])
  })
})

it("a tenant has room for a thousand triggers and 2 MiB of sources", () => {
  const { tenant, main } = house()
  const { registry } = tenant("a").triggers
  const input = (name: string, source: string): TriggerInput => ({ name, pattern: name, events: ["ON_WRITE"], source })
  for (let n = 0; n < 1_000; n++) expect(registry.set(input(`t${n}`, "return 1"))).toBeInstanceOf(Trigger)
  expect(registry.set(input("more", "return 1"))).toEqual(new TooManyTriggers({ limit: 1_000 }))
  expect(main.triggers.registry.set(input("more", "return 1"))).toBeInstanceOf(Trigger)
  const other = tenant("b").triggers.registry
  const large = `--${"x".repeat(65_534)}`
  for (let n = 0; n < 32; n++) expect(other.set(input(`t${n}`, large))).toBeInstanceOf(Trigger)
  expect(other.set(input("more", "return 1"))).toEqual(new TooMuchSource({ limit: 2_097_152 }))
})

it("whatever a crowd does, each is what it would be alone", () =>
  forAllSeeds(12, (random) => {
    const ids = ["a", "a-1", "b", "c"]
    const schedule = Array.from({ length: 40 }, () => ({ id: random.pick(ids), deed: deedOf(random) }))
    const together = house({ machinesLentMax: 2, cascade: { runs: 12 } })
    const crowd = new Map(ids.map((id) => [id, together.tenant(id, `p:${id}`)]))
    for (const { id, deed } of schedule) deed(crowd.get(id) as ReturnType<House["tenant"]>, together)
    for (const id of ids) {
      const alone = house({ cascade: { runs: 12 } })
      const one = alone.tenant(id, `p:${id}`)
      for (const each of schedule) if (each.id === id) each.deed(one, alone)
      expect(stateOf(crowd.get(id) as typeof one, together)).toEqual(stateOf(one, alone))
    }
  }))

type Deed = (tenant: ReturnType<House["tenant"]>, house: House) => void

/** One thing that may happen to a tenant. Sources keep nothing in globals, which a parked machine forgets. */
const deedOf = (random: Random): Deed => {
  const key = random.pick(["k", "l", "m"])
  const name = random.pick(["t", "u"])
  const source = random.pick([
    'cache.emit("told", { event.type, event.key, event.version, event.cascade, cache.get("k") or "none" })',
    `cache.set("${key}", (cache.get("k") or "") .. "+")`,
    'cache.webhook("http://a", event.key) cache.log("stream", { key = event.key })',
    'error("no: " .. event.key)',
    `if event.type == "BEFORE_WRITE" then cache.reject("not " .. event.key) end`,
    `cache.delete("${key}") cache.emit("gone", event.cascade)`
  ])
  const events = random.pick([["ON_WRITE"], ["ON_WRITE", "ON_DELETE"], ["BEFORE_WRITE", "ON_READ"]] as const)
  const value = random.pick(["x", "y"])
  const pattern = random.pick(["*", key])
  const kind = random.below(10)
  if (kind < 3) return ({ triggers }) => void set(triggers, { name, source, events, pattern })
  if (kind === 3) return ({ triggers }) => void triggers.registry.remove(name)
  if (kind === 4) return ({ keyspace }) => void keyspace.delete(key)
  if (kind === 5) return ({ keyspace }) => void keyspace.get(key)
  return ({ keyspace }) => void keyspace.set(key, value)
}

/** All that can be seen of a tenant, from within and from without. */
const stateOf = ({ tenant, keyspace, triggers }: ReturnType<House["tenant"]>, { heard, webhooks, lines }: House) => ({
  entries: ["k", "l", "m"].map((key) => keyspace.peek(key)?.value),
  records: triggers.records.recent(100),
  streams: triggers.logs.list(),
  triggers: Array.from(triggers.registry.all(), ({ name, version, stats }) => [
    name,
    version,
    stats.runs,
    stats.failures,
    stats.skips
  ]),
  heard: heard.filter((each) => each.startsWith(`${tenant.prefix}:`)),
  webhooks: webhooks.filter(({ id }) => id.startsWith(`boot:${tenant.id}:`)),
  lines: lines.filter((line) => line.tenant === tenant.id)
})
