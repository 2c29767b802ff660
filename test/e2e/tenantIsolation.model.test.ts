/**
 * A thousand tenants with random programs over the same key names, on the whole program: each sees what its own model
 * says, and whatever comes out anywhere on its behalf bears no mark but its own. Among them are some that exhaust all
 * they may use. Time is virtual, the order of things is the seeds'.
 */
import { expect, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Layer, Logger, Runtime, TestClock } from "effect"
import { layerWith } from "../../src/App.ts"
import { Process } from "../../src/actor/index.ts"
import { Bus, Cache, Keyspaces, type Output, type Tenant, Tenants } from "../../src/cache/index.ts"
import type { Value } from "../../src/kernel/index.ts"
import {
  Run,
  type RunError,
  type RunOptions,
  type Script,
  ScriptEngine,
  type ScriptState,
  ScriptSyntaxError,
  Scripts
} from "../../src/scripting/index.ts"
import { Triggers } from "../../src/triggers/index.ts"
import { VirtualTime } from "../scripting/VirtualTime.ts"
import { exactText } from "../support/luaValues.ts"
import { firstSeed, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import {
  type Ended,
  foreignMarks,
  type ModelRun,
  type ModelWorld,
  markOf,
  type Program,
  type ProgramFunction,
  randomProgram,
  TenantModel,
  triggersOf
} from "../support/TenantProgram.ts"

const tenantsAtOnce = 1_000
const ticks = 16 // moves of each tenant

/** The program, and time that the test owns. */
const makeWorld = Effect.gen(function* () {
  const time = new VirtualTime()
  time.ms = yield* Clock.currentTimeMillis
  const scripts = { clock: time, fuelPerSliceMs: 250_000, machinesMax: 8, random: () => 1 }
  const intensity = { errorsMax: 10_000 }
  const context = yield* Layer.build(layerWith({ scripts, intensity, origin: "boot" }, [])).pipe(
    Effect.provide(Logger.remove(Logger.defaultLogger))
  )
  const services = yield* Effect.provide(
    Effect.all({
      bus: Bus,
      cache: Cache,
      engine: ScriptEngine,
      keyspaces: Keyspaces,
      scripts: Scripts,
      tenants: Tenants,
      triggers: Triggers
    }),
    context
  )
  const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
  return {
    ...services,
    time,
    runtime: yield* Effect.runtime(),
    turn: Effect.zipRight(
      turn,
      Effect.sync(() => time.turn())
    ),
    /** Lets time pass, until all that was due is done. */
    pass: (ms: number) =>
      Effect.gen(function* () {
        time.ms += ms
        yield* TestClock.adjust(ms)
        while (services.keyspaces.nextWakeMs() <= time.ms) yield* Process.nextTurn
      })
  }
})

type World = Effect.Effect.Success<typeof makeWorld>

/** A run that the test has begun, beside what its model says of it. */
interface Moving {
  readonly moved: ModelRun
  readonly model: Generator<void, Ended, string>
  /** The world that is kept; null where the run has one of its own. */
  readonly kept: ModelWorld | null
  run: Run | null
  /** What the model has come to; null as long as it waits. */
  expected: Ended | null
  /** What the run has come to; null as long as it has not ended. */
  got: Ended | null
  /** Gives a run that waits its answer. */
  answer: ((text: string) => void) | null
}

/** A tenant with its programs and its model. */
class Player {
  readonly mark: string
  readonly model: TenantModel
  readonly moving: Moving[] = []
  readonly messages: string[] = []
  readonly logged: unknown[] = []
  readonly outcomes: Record<string, number> = {}
  private readonly program: Program
  private readonly script: Script
  private readonly options: RunOptions
  private readonly keptWorld: ModelWorld = { leak: undefined }
  private state: ScriptState | null = null
  /** The run that moves at the moment; at most one, so that the model knows the order of what a tenant does. */
  private active: Moving | null = null

  constructor(
    private readonly random: Random,
    readonly tenant: Tenant,
    private readonly world: World
  ) {
    const isIn = () => random.oneIn(2)
    this.mark = markOf(tenant.id)
    const triggers = { onWrite: isIn(), onExpire: isIn(), onDelete: isIn(), beforeWrite: isIn() }
    this.model = new TenantModel(this.mark, triggers, world.time.ms)
    this.program = randomProgram(random, this.mark, 4)
    const script = world.engine.unsafeCompile(this.program.source, { name: "main" })
    if (script instanceof ScriptSyntaxError) throw script
    this.script = script
    const wait = (said: Output) => {
      expect(foreignMarks(String(said), this.mark)).toEqual([])
      const { active } = this
      return new Promise<string>((answer) => {
        if (active !== null) active.answer = answer
      })
    }
    this.options = { cachePrefix: tenant.prefix, env: { me: this.mark }, functions: { wait } }
  }

  begin() {
    const { tenant, mark, program, world, model } = this
    return Effect.gen(this, function* () {
      yield* world.tenants.setEnv(tenant.id, "secret", mark)
      yield* world.scripts.set(tenant.id, "served", program.source)
      for (const trigger of triggersOf(model.triggers, mark)) yield* world.triggers.of(tenant).set(trigger)
      this.state = yield* this.script.createState(this.options)
    })
  }

  /** Begins a run, answers one, or ends one; what its model says of that is computed at once. */
  move(): void {
    const { random, moving } = this
    const waiting = moving.filter(({ answer }) => answer !== null)
    if (waiting.length > 0 && (moving.length === 3 || random.oneIn(2))) this.goOn(random.pick(waiting))
    else if (moving.length < 3) this.start()
  }

  /** Whether nothing of it moves: all its runs wait or have ended. */
  get isAtRest(): boolean {
    return this.moving.every(({ run, got, answer }) => answer !== null || got !== null || run?.isEnded === true)
  }

  /** What has ended is as the model said, and only that. */
  check(): void {
    for (const each of this.moving.slice()) {
      const { run, expected } = each
      if (run?.isEnded === true) each.got = endedOf(run)
      if ((each.got === null) !== (expected === null)) {
        expect(each.got, `${this.mark} waits\n${this.program.source}`).toEqual(expected)
      }
      if (each.got === null || expected === null) continue
      this.moving.splice(this.moving.indexOf(each), 1)
      this.compare(each, each.got, expected)
    }
  }

  /** All that is there of it, and all that has been said on its behalf. */
  checkAll(): void {
    const { mark, model, tenant, world, outcomes } = this
    const entries = new Map<string, string>()
    let cursor = 0
    do {
      cursor = tenant.keyspace.scan(cursor, 64, ({ key, value, expiresAtMs }) => {
        entries.set(key, `${exactText(value)} until ${expiresAtMs}`)
      })
    } while (cursor !== 0)
    const expected = new Map(
      Array.from(model.entries, ([key, { value, expiresAtMs }]) => [key, `${exactText(value)} until ${expiresAtMs}`])
    )
    expect([mark, new Map([...entries].sort())]).toEqual([mark, new Map([...expected].sort())])
    const log = world.scripts.log(tenant.id, { count: 1_000 })
    expect(log.map(({ script, kind, text }) => [script, kind, text])).toEqual(model.log)
    expect(this.logged).toEqual(log)
    expect(this.messages.sort()).toEqual(model.messages.sort())
    const own = world.triggers.of(tenant)
    const records = own.inBytes.log(250).reverse()
    expect(records.map(({ trigger, event, key, message }) => [trigger, event, key, message])).toEqual(
      model.records
        .slice(-250)
        .map(([trigger, event, key, message]) => [trigger, event, key.slice(0, 256), message.slice(0, 512)])
    )
    const streams = own.logs.list().map(({ stream }) => stream)
    expect(streams).toEqual(Object.keys(model.streams).filter((name) => model.streams[name]?.length !== 0))
    const lines = streams.map((stream) => own.logs.read(stream, { count: 500 }))
    streams.forEach((stream, at) => {
      const texts = (lines[at] ?? []).map(({ message }) => message)
      expect(texts.length).toBeGreaterThan(0)
      expect(texts).toEqual(model.streams[stream]?.slice(-texts.length))
    })
    const usage = world.scripts.usage(tenant.id)
    expect([mark, usage?.refused, tenant.keyspace.stats.evictions, tenant.keyspace.stats.refused]).toEqual([
      mark,
      0,
      0,
      0
    ])
    expect(Object.fromEntries(Object.entries(usage?.outcomes ?? {}).filter(([, count]) => count > 0))).toEqual(outcomes)
    const shown = [log, records, lines, Runtime.runSync(world.runtime)(Effect.all([own.list, own.graph]))]
    const views = [world.scripts.list(tenant.id), world.scripts.info(tenant.id, "served"), [...tenant.env], usage]
    expect(foreignMarks(JSON.stringify([shown, views]), mark)).toEqual([])
  }

  private start(): void {
    const { random, program, world, tenant, script, options, keptWorld } = this
    const chosen = random.pick(program.functions)
    const kind = random.below(3)
    if (kind === 0) {
      const each = this.begun(
        chosen,
        { script: "served", world: { leak: undefined }, isOfLibrary: false, line: 0 },
        null
      )
      Runtime.runCallback(world.runtime)(world.scripts.run(tenant.id, "served", chosen.name, []), {
        onExit: (exit) => {
          each.got = Exit.match(exit, { onSuccess: (value): Ended => ({ value }), onFailure: failureOf })
        }
      })
      return
    }
    const isKept = kind === 1 && !chosen.isWild && !this.moving.some(({ kept }) => kept !== null)
    const moved = { script: "main", world: isKept ? keptWorld : { leak: undefined }, isOfLibrary: true, line: 0 }
    const each = this.begun(chosen, moved, isKept ? keptWorld : null)
    const run = isKept ? this.state?.unsafeRun(chosen.name) : script.unsafeRun(chosen.name, [], options)
    if (!(run instanceof Run)) throw run
    each.run = run
  }

  private begun(chosen: ProgramFunction, moved: ModelRun, kept: ModelWorld | null): Moving {
    const model = this.model.run(chosen, moved)
    const { value } = model.next("")
    const each: Moving = { moved, model, kept, run: null, expected: value ?? null, got: null, answer: null }
    this.active = each
    this.moving.push(each)
    return each
  }

  private goOn(each: Moving): void {
    const { random, mark } = this
    const { answer, model, moved } = each
    if (random.oneIn(10)) {
      each.expected = { tag: "ScriptInterrupted", message: `main:${moved.line}: ended because ${mark} says so` }
      each.run?.interrupt(`${mark} says so`)
      return
    }
    const text = `${mark} answer ${random.below(100)}`
    each.expected = model.next(text).value ?? null
    each.answer = null
    this.active = each
    answer?.(text)
  }

  private compare({ moved, kept }: Moving, got: Ended, expected: Ended): void {
    const { mark, model, program, outcomes } = this
    const tag = "tag" in got ? got.tag : "ok"
    const outcome = outcomeOf[tag] ?? tag
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    if ("value" in got && "value" in expected) {
      const [text, right] = [exactText(got.value), exactText(expected.value)]
      if (text !== right) expect(text, `${mark}\n${program.source}`).toBe(right)
      return
    }
    expect(got, `${mark}\n${program.source}`).toMatchObject(expected)
    const { message = "", text = "" } = got as { message?: string; text?: string }
    expect(foreignMarks(text, mark)).toEqual([])
    const { traceback = "" } = JSON.parse(text) as { traceback?: string }
    model.log.push([moved.script, "failed", traceback === "" ? message : `${message}\n${traceback}`])
    if (kept !== null && (outcome === "timeout" || outcome === "interrupted")) kept.leak = undefined
  }
}

const outcomeOf: Readonly<Record<string, string>> = {
  ScriptRuntimeError: "error",
  ScriptTimeout: "timeout",
  ScriptOutOfMemory: "memory",
  ScriptInterrupted: "interrupted"
}

const endedOf = ({ error, value }: Run): Ended => (error === null ? { value: value as Value } : shownError(error))

const failureOf = (cause: Cause.Cause<RunError | { readonly _tag: string; readonly message: string }>): Ended => {
  const error = Cause.squash(cause) as RunError
  return shownError(error)
}

/** An error with all that it says. */
const shownError = (error: { readonly _tag: string; readonly message: string }): Ended & { readonly text: string } => ({
  tag: error._tag,
  message: error.message,
  text: JSON.stringify(error)
})

/** Tenants that use up what they may, each in its own way. */
const hogs = {
  entries: {
    limits: { maxEntries: 50 },
    source: 'function main() for i = 1, 200 do cache.put("user:" .. i, secret) end return secret end'
  },
  bytes: {
    limits: { maxBytes: 65_536 },
    source:
      'function main() for i = 1, 9 do cache.put("user" .. i, secret:rep(1000)) end cache.put("a", secret:rep(9999)) end'
  },
  runs: { limits: { runsMax: 2, waitMs: 200 }, source: "function main() return wait(secret) end" },
  fuel: { limits: { fuelPerSecond: 1_000_000 }, source: "function main() for i = 1, 1e6 do end return secret end" },
  log: { limits: { logLines: 10 }, source: "function main() for i = 1, 50 do print(secret, i) end error(secret) end" },
  memory: {
    limits: { memoryBytes: 262_144 },
    source: "function main() local all = {} for i = 1, 1e6 do all[i] = secret .. i end end"
  },
  patterns: {
    limits: { computeMs: 5 },
    source: 'function main() return (secret:rep(9999)):find((".-"):rep(9) .. "MARK$") end'
  },
  triggers: {
    limits: {},
    source: 'function main() for i = 1, 20 do cache.put("loop" .. i, secret) cache.delete("loop" .. i) end end'
  }
} as const

/** Takes down all that is said on the bus, and by whom; what bears another's mark, or is nobody's, it answers. */
const listen = (world: World, byPrefix: ReadonlyMap<string, Player | string>): readonly string[] => {
  const strange: string[] = []
  world.bus.psubscribe("*", {
    onMessage: (channel, payload) => {
      const [, prefix, name] = /^(?:(.*?):)?(changed|expired|script:log)$/.exec(channel) ?? []
      const owner = byPrefix.get(prefix ?? "")
      const mark = owner instanceof Player ? owner.mark : (owner ?? "nobody's")
      if (owner === undefined || foreignMarks(`${channel} ${payload}`, mark).length > 0) {
        strange.push(`${mark}: ${channel} ${payload}`)
      }
      if (!(owner instanceof Player)) return
      if (name === "script:log") owner.logged.push(JSON.parse(Buffer.from(payload, "latin1").toString()))
      else owner.messages.push(`${name} ${Buffer.from(payload, "latin1")}`)
    }
  })
  return strange
}

const wide = { computeMs: 5, waitMs: 3_600_000, memoryBytes: 1 << 20, fuelPerSecond: 1e12 }

const playWith = (tenantsMax: number, seed: number) =>
  Effect.gen(function* () {
    const world = yield* makeWorld
    const { tenants, time, turn, pass, cache, keyspaces, triggers, engine } = world
    const random = new Random(seed)
    const byPrefix = new Map<string, Player | string>([["", "<<main>>"]])
    for (const key of ["user_count", "user", "a", "guarded", "gone:a"]) cache.unsafeSet(key, "<<main>>")
    const mainBefore = [keyspaces.main.size, keyspaces.main.version, { ...keyspaces.main.stats }]
    yield* triggers.set({
      name: "seen",
      pattern: "*",
      events: ["ON_WRITE", "ON_DELETE", "ON_READ", "ON_EXPIRE"],
      source: 'cache.emit("changed", "<<main>>")'
    })
    const strange = listen(world, byPrefix)
    const players: Player[] = []
    for (let i = 0; i < tenantsMax; i++) {
      const id = `t${seed + i}`
      const prefix = i % 3 === 0 ? `team:${id}` : id
      const tenant = yield* tenants.create({ id, prefix, limits: wide })
      const player = new Player(new Random(seed + i), tenant, world)
      byPrefix.set(prefix, player)
      players.push(player)
      yield* player.begin()
    }
    const pigs: Array<{ mark: string; begin: () => void; readonly shown: string[] }> = []
    for (const [kind, { limits, source }] of Object.entries(hogs)) {
      const id = `hog_${kind}`
      const mark = markOf(id)
      byPrefix.set(id, mark)
      const tenant = yield* tenants.create({ id, limits })
      yield* tenants.setEnv(id, "secret", mark)
      if (kind === "triggers") {
        const given = { pattern: "*", events: ["ON_WRITE", "ON_DELETE"] } as const
        yield* triggers.of(tenant).set({ ...given, name: "burns", source: "while true do end" })
        yield* triggers
          .of(tenant)
          .set({ ...given, name: "says", source: `cache.emit("changed", "${mark}") error("${mark}")` })
      }
      const script = yield* engine.compile(source, { name: "main" })
      const shown: string[] = []
      const options = { cachePrefix: id, functions: { wait: () => new Promise<null>(() => {}) } }
      const begin = () => {
        const run = script.unsafeRun("main", [], options)
        if (!(run instanceof Run)) return void shown.push(JSON.stringify(run))
        const end = () => void shown.push(JSON.stringify(endedOf(run)))
        if (run.isEnded) end()
        else run.onEnd = end
      }
      pigs.push({ mark, begin, shown })
    }
    for (let tick = 0; tick < ticks; tick++) {
      const order = players.slice().sort(() => random.next() - 0.5)
      for (const [at, player] of order.entries()) {
        player.move()
        if (at % 250 === 0) for (const pig of pigs) pig.begin()
      }
      for (let turns = 0; !order.every(({ isAtRest }) => isAtRest); turns++) {
        if (turns > 10_000) throw new Error("it does not come to rest")
        yield* turn
      }
      for (const player of order) player.check()
      const ms = random.pick([1, 50, 49, 200, 1_300])
      yield* pass(ms)
      for (const { model } of players) model.pass(time.ms)
    }
    expect([strange, world.bus.stats.failed]).toEqual([[], 0])
    for (const player of players) player.checkAll()
    expect([keyspaces.main.size, keyspaces.main.version, { ...keyspaces.main.stats }]).toEqual(mainBefore)
    for (const { mark, shown } of pigs) expect(foreignMarks(shown.join(), mark)).toEqual([])
    return { world, players, pigs }
  })

/** It would show little if worlds were never moved, runs never waited, or nobody had met a limit. */
const checkThatMuchHappened = ({ world, players, pigs }: Effect.Effect.Success<ReturnType<typeof playWith>>): void => {
  expect(world.engine.stats.swapsIn).toBeGreaterThan(1_000)
  const sum = (outcome: string) => players.reduce((all, { outcomes }) => all + (outcomes[outcome] ?? 0), 0)
  for (const outcome of ["ok", "error", "timeout", "memory", "interrupted"]) {
    expect([outcome, sum(outcome) > 20]).toEqual([outcome, true])
  }
  const said = (kind: keyof typeof hogs) => pigs.find(({ mark }) => mark === markOf(`hog_${kind}`))?.shown.join()
  expect(said("runs")).toContain('"what":"runs"')
  expect(said("runs")).toContain("ms of waiting")
  expect(said("fuel")).toContain('"what":"fuel"')
  expect(said("memory")).toContain("ScriptOutOfMemory")
  for (const id of ["hog_entries", "hog_bytes"]) {
    expect(world.tenants.get(id)?.keyspace.stats.evictions).toBeGreaterThan(0)
  }
}

it.effect(
  "a thousand tenants with random programs each see what their own model says, and nothing of anybody else",
  () =>
    Effect.gen(function* () {
      const count = scheduleCount(tenantsAtOnce)
      for (let first = 0; first < count; first += tenantsAtOnce) {
        const tenants = Math.min(tenantsAtOnce, count - first)
        const played = playWith(tenants, firstSeed + first).pipe(
          Effect.map((result) => tenants === tenantsAtOnce && checkThatMuchHappened(result))
        )
        yield* Effect.scoped(played)
      }
    }),
  propertyTimeoutMs
)
