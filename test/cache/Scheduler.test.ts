/** The scheduler under a supervisor, with time that the tests hold. */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Layer, Logger, LogLevel, Scope, TestClock, TestContext } from "effect"
import fc from "fast-check"
import { ExitReason, GenServer, Process, Supervisor } from "../../src/actor/index.ts"
import * as Timers from "../../src/actor/internal/timers.ts"
import { CacheClock, Keyspaces, Reactions, Scheduler, Wakeups } from "../../src/cache/index.ts"
import { Cause, causeBit, type Keyspace, type Pattern, parsePattern } from "../../src/kernel/index.ts"

interface Expired {
  readonly key: string
  readonly atMs: number
  /** The scheduler's turn in which it happened, from 0. */
  readonly turn: number
}

/** A keyspace whose expiries are written down. `start` starts its scheduler; `onExpire` is told before anybody else. */
const engine = (onExpire: (key: string, keyspace: Keyspace) => void = () => {}) =>
  Effect.gen(function* () {
    const expired: Expired[] = []
    const clock = yield* Effect.clock
    const sink = Layer.succeed(Reactions, {
      onEvent: ({ key }, keyspace) => {
        expired.push({ key, atMs: clock.unsafeCurrentTimeMillis(), turn: scheduler().inspect?.turns as number })
        onExpire(key, keyspace)
      },
      onSettled() {},
      beforeWrite: () => null,
      beforeDelete: () => null
    })
    const ground = Layer.mergeAll(CacheClock.layer, Wakeups.layer, sink)
    const services = yield* Layer.build(Layer.provideMerge(Keyspaces.layer(), ground))
    const { main: keyspace, open } = yield* Effect.provide(Keyspaces, services)
    keyspace.trie.add({ pattern: parsePattern("*") as Pattern, mask: causeBit(Cause.expire), priority: 0 })
    let supervisor: Supervisor.SupervisorRef | null = null
    const start = Supervisor.start({
      maxRestarts: 1_000,
      children: [GenServer.childSpec(Scheduler, undefined)]
    }).pipe(
      Effect.provide(services),
      Effect.tap((started) => Effect.sync(() => (supervisor = started))),
      Effect.zipRight(settled)
    )
    const scheduler = () => {
      const root = supervisor === null ? null : Supervisor.unsafeTree(supervisor)
      return root?.children[0] ?? { restarts: 0, inspect: undefined }
    }
    const keys = () => expired.map(({ key }) => key)
    /** Another keyspace, as a tenant has one, with everybody watching. */
    const openWatched = () => {
      const opened = open({ maxEntries: 10_000, maxBytes: 10_000_000 })
      opened.trie.add({ pattern: parsePattern("*") as Pattern, mask: causeBit(Cause.expire), priority: 0 })
      return opened
    }
    return { keyspace, expired, keys, start, scheduler, openWatched }
  })

const running = (onExpire?: (key: string, keyspace: Keyspace) => void) =>
  Effect.tap(engine(onExpire), ({ start }) => start)

/** All fibers have done what they could: they go on in microtasks, which end before a turn of the event loop does. */
const settled = Effect.async<void>((resume) => void setImmediate(() => setImmediate(() => resume(Effect.void))))

const passes = (ms: number) => Effect.zipRight(TestClock.adjust(ms), settled)

/** Kills the scheduler, unless it is down already. */
const killNow = () => {
  for (const pid of Process.list()) if (pid.label === "scheduler") Process.unsafeExit(pid, ExitReason.killed)
}
const kill = Effect.sync(killNow)

const silent = Logger.withMinimumLogLevel(LogLevel.None)

describe("expiry", () => {
  it.scoped("fires with no access, at the deadline and not before", () =>
    Effect.gen(function* () {
      const { keyspace, expired } = yield* running()
      keyspace.set("k", "v", 5_000)
      yield* passes(4_999)
      expect(expired).toEqual([])
      yield* passes(1)
      expect(expired).toMatchObject([{ key: "k", atMs: 5_000 }])
      expect(keyspace.size).toBe(0)
    })
  )

  it.scoped("is in the order of the deadlines, each at its own, however far apart", () =>
    Effect.gen(function* () {
      const { keyspace, expired } = yield* running()
      const deadlines = [70_000, 3, 64, 4_096, 1, 65, 63, 10 * 86_400_000, 262_144, 4_095]
      for (const atMs of deadlines) keyspace.set(`at ${atMs}`, "v", atMs)
      const inOrder = [...deadlines].sort((a, b) => a - b)
      for (const [n, atMs] of inOrder.entries()) {
        yield* passes(atMs - (inOrder[n - 1] ?? 0))
        expect(expired[n]).toMatchObject({ key: `at ${atMs}`, atMs })
      }
      expect(expired).toHaveLength(deadlines.length)
    })
  )

  it.scoped("is in the order of the deadlines when all of them have passed", () =>
    Effect.gen(function* () {
      const { keyspace, keys } = yield* running()
      for (const atMs of [500, 100, 300, 200, 400]) keyspace.set(String(atMs), "v", atMs)
      yield* passes(1_000)
      expect(keys()).toEqual(["100", "200", "300", "400", "500"])
    })
  )

  it.scoped("comes earlier when an earlier deadline is set while it sleeps", () =>
    Effect.gen(function* () {
      const { keyspace, expired } = yield* running()
      keyspace.set("late", "v", 3_600_000)
      yield* passes(1_000)
      keyspace.set("early", "v", 1_500)
      keyspace.set("earlier", "v", 1_200)
      yield* passes(200)
      yield* passes(300)
      expect(expired).toMatchObject([
        { key: "earlier", atMs: 1_200 },
        { key: "early", atMs: 1_500 }
      ])
    })
  )

  it.scoped("follows a deadline that is moved or taken away", () =>
    Effect.gen(function* () {
      const { keyspace, expired } = yield* running()
      for (const key of ["sooner", "later", "never"]) keyspace.set(key, "v", 1_000)
      keyspace.expireAt("sooner", 10)
      keyspace.expireAt("later", 2_000)
      keyspace.expireAt("never", 0)
      yield* passes(10)
      yield* passes(1_989)
      expect(expired).toMatchObject([{ key: "sooner", atMs: 10 }])
      yield* passes(1)
      expect(expired[1]).toMatchObject({ key: "later", atMs: 2_000 })
      yield* passes(1_000_000)
      expect(expired).toHaveLength(2)
    })
  )

  it.scoped("comes on time for what a reaction to an expiry sets", () =>
    Effect.gen(function* () {
      const { keyspace, expired } = yield* running((key, entries) => {
        if (key === "first") entries.set("second", "v", 150)
        if (key === "second") entries.set("third", "v", 150)
      })
      keyspace.set("first", "v", 100)
      yield* passes(100)
      yield* passes(50)
      expect(expired).toMatchObject([
        { key: "first", atMs: 100 },
        { key: "second", atMs: 150 },
        { key: "third", atMs: 150 }
      ])
    })
  )

  it.scoped("fires what was set, or was due, before the scheduler started", () =>
    Effect.gen(function* () {
      const { keyspace, expired, start } = yield* engine()
      keyspace.set("due", "v", 10)
      keyspace.set("to come", "v", 100)
      yield* passes(50)
      expect(expired).toEqual([])
      yield* start
      yield* passes(50)
      expect(expired).toMatchObject([
        { key: "due", atMs: 50 },
        { key: "to come", atMs: 100 }
      ])
    })
  )
})

describe("a turn", () => {
  /** A clock on which half a millisecond passes whenever somebody looks, so that turns are over soon. */
  const busyClock = Effect.map(Effect.clock, (clock): Clock.Clock => {
    let looks = 0n
    return {
      ...clock,
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      sleep: (duration) => clock.sleep(duration),
      unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
      unsafeCurrentTimeNanos: () => looks++ * 500_000n,
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanos: clock.currentTimeNanos
    }
  })

  it.scoped("is bounded in time: thousands that are due at once are spread over many, and none is forgotten", () =>
    Effect.gen(function* () {
      const { keyspace, expired, scheduler } = yield* Effect.flatMap(busyClock, (clock) =>
        Effect.withClock(running(), clock)
      )
      const count = 2_000
      for (let n = 0; n < count; n++) keyspace.set(`k${n}`, "v", 1_000)
      yield* passes(1_000)
      yield* Effect.repeatN(settled, count / 4)
      expect(expired.map(({ key }) => key)).toEqual(Array.from({ length: count }, (_, n) => `k${n}`))
      const perTurn = new Map<number, number>()
      for (const { turn } of expired) perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1)
      expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(4 * 4) // four looks are 2 ms, one for every 4 entries
      expect(perTurn.size).toBeGreaterThanOrEqual(count / (4 * 4))
      expect(scheduler().inspect?.fullTurns).toBeGreaterThanOrEqual(perTurn.size - 1)
    })
  )
})

describe("several keyspaces", () => {
  it.scoped("expire each at its own deadlines, also those opened while the scheduler runs", () =>
    Effect.gen(function* () {
      const { keyspace, expired, openWatched } = yield* running()
      keyspace.set("main", "v", 300)
      const [a, b] = [openWatched(), openWatched()]
      a.set("a", "v", 200)
      yield* passes(100)
      b.set("b", "v", 150)
      yield* passes(50)
      yield* passes(50)
      yield* passes(100)
      expect(expired).toMatchObject([
        { key: "b", atMs: 150 },
        { key: "a", atMs: 200 },
        { key: "main", atMs: 300 }
      ])
    })
  )

  it.scoped("are ten thousand at no cost while they are at rest: a turn looks at those alone that are due", () =>
    Effect.gen(function* () {
      const { expired, scheduler, openWatched } = yield* running()
      const keyspaces = Array.from({ length: 10_000 }, openWatched)
      let advanced = 0
      for (const [n, each] of keyspaces.entries()) {
        each.set("k", "v")
        if (n % 1_000 === 0) each.set("timed", "v", 1_000 + n / 1_000)
        const { advance } = each
        each.advance = (nowMs, limit) => {
          advanced++
          return advance.call(each, nowMs, limit)
        }
      }
      yield* settled
      for (let n = 0; n < 10; n++) yield* passes(n === 0 ? 1_000 : 1)
      expect(expired.map(({ atMs }) => atMs)).toEqual(Array.from({ length: 10 }, (_, n) => 1_000 + n))
      expect(advanced).toBeLessThanOrEqual(10 * 7)
      expect(scheduler().inspect?.nextWakeMs).toBe(Number.POSITIVE_INFINITY)
    })
  )

  it.scoped("evict in turns what lowered limits no longer allow, while entries of others expire", () =>
    Effect.gen(function* () {
      const { keyspace, expired, openWatched } = yield* running()
      const tenant = openWatched()
      for (let n = 0; n < 1_000; n++) tenant.set(`k${n}`, "v")
      keyspace.set("main", "v", 10)
      tenant.limit(10, 1_000_000)
      yield* passes(10)
      expect([tenant.size, expired.length, tenant.nextWakeMs()]).toEqual([10, 1, Number.POSITIVE_INFINITY])
      expect(tenant.stats.evictions).toBe(990)
    })
  )
})

describe("an idle scheduler", () => {
  it.scoped("does not wake up at all without deadlines", () =>
    Effect.gen(function* () {
      const { keyspace, scheduler } = yield* running()
      keyspace.set("k", "v")
      yield* passes(365 * 86_400_000)
      expect(scheduler().inspect).toMatchObject({ turns: 1, fullTurns: 0, nextWakeMs: Number.POSITIVE_INFINITY })
      expect(Timers.of(yield* Effect.clock).size).toBe(0)
    })
  )

  it.scoped("wakes up a few times at most for a deadline that is far away: once a level of the wheel", () =>
    Effect.gen(function* () {
      const { keyspace, scheduler, keys } = yield* running()
      keyspace.set("k", "v", 20 * 86_400_000 + 12_345)
      yield* passes(20 * 86_400_000 + 12_345)
      expect(keys()).toEqual(["k"])
      const turns = scheduler().inspect?.turns as number
      expect(turns).toBeLessThanOrEqual(2 + 7)
      yield* passes(365 * 86_400_000)
      expect(scheduler().inspect?.turns).toBe(turns)
    })
  )

  it.scoped("is woken once for many deadlines of one turn", () =>
    Effect.gen(function* () {
      const { keyspace, scheduler } = yield* running()
      for (let n = 0; n < 1_000; n++) keyspace.set(`k${n}`, "v", 1_000_000 - n)
      yield* settled
      expect(scheduler().inspect?.turns).toBe(2)
    })
  )

  it.scoped("sleeps through what a timer cannot count, and goes on", () =>
    Effect.gen(function* () {
      const { keyspace, expired } = yield* running()
      const farMs = 3 * 2 ** 31 + 5
      keyspace.set("k", "v", farMs)
      yield* passes(farMs - 1)
      expect(expired).toEqual([])
      yield* passes(1)
      expect(expired).toMatchObject([{ key: "k", atMs: farMs }])
    })
  )
})

describe("a crash of the scheduler", () => {
  it.scoped("loses no deadline: neither those that were known nor those set while it was down", () =>
    Effect.gen(function* () {
      const { keyspace, expired, scheduler } = yield* running()
      keyspace.set("before", "v", 300)
      yield* passes(100)
      yield* kill
      keyspace.set("meanwhile", "v", 200)
      yield* settled
      expect(scheduler().restarts).toBe(1)
      yield* passes(100)
      yield* passes(100)
      expect(expired).toMatchObject([
        { key: "meanwhile", atMs: 200 },
        { key: "before", atMs: 300 }
      ])
    }).pipe(silent)
  )

  it.scoped("loses nothing of what became due while it was down", () =>
    Effect.gen(function* () {
      const { keyspace, keys } = yield* running()
      for (let n = 1; n <= 100; n++) keyspace.set(`k${n}`, "v", n)
      yield* kill
      yield* passes(100)
      expect(keys()).toEqual(Array.from({ length: 100 }, (_, n) => `k${n + 1}`))
    }).pipe(silent)
  )

  it.scoped("in the middle of its own turn is no other", () =>
    Effect.gen(function* () {
      const { keyspace, keys, scheduler } = yield* running((key) => {
        if (key === "k5") killNow()
      })
      for (let n = 0; n < 10; n++) keyspace.set(`k${n}`, "v", 10 + n)
      keyspace.set("last", "v", 500)
      yield* passes(100)
      yield* passes(400)
      expect(keys()).toEqual([...Array.from({ length: 10 }, (_, n) => `k${n}`), "last"])
      expect(scheduler().restarts).toBe(1)
    }).pipe(silent)
  )

  it.scoped("is not what a reaction that throws leads to: it costs no other entry its expiry", () =>
    Effect.gen(function* () {
      const { keyspace, keys, scheduler } = yield* running((key) => {
        if (key === "bad") throw new Error("a broken reaction")
      })
      for (const key of ["a", "bad", "b", "c"]) keyspace.set(key, "v", 10)
      keyspace.set("later", "v", 20)
      yield* passes(10)
      yield* passes(10)
      expect(keys()).toEqual(["a", "bad", "b", "c", "later"])
      expect([keyspace.stats.sinkErrors, scheduler().restarts]).toEqual([1, 0])
    }).pipe(silent)
  )

  it.scoped("leaves no timer behind", () =>
    Effect.gen(function* () {
      const { keyspace } = yield* running()
      const timers = Timers.of(yield* Effect.clock)
      keyspace.set("k", "v", 1_000_000)
      yield* settled
      expect(timers.size).toBe(1)
      for (let n = 0; n < 5; n++) yield* Effect.zipRight(kill, settled)
      expect(timers.size).toBe(1)
    }).pipe(silent)
  )

  it.effect("at any moment of any schedule leaves nothing behind that is past its deadline", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40 }), (steps) =>
          Effect.runPromise(Effect.scoped(replay(steps)).pipe(silent, Effect.provide(TestContext.TestContext)))
        ),
        { numRuns: 60 }
      )
    )
  )
})

describe("the end of the scheduler", () => {
  it.effect("cancels its timer, and leaves word to nobody", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { keyspace, expired } = yield* Scope.extend(running(), scope)
      const timers = Timers.of(yield* Effect.clock)
      keyspace.set("k", "v", 1_000)
      yield* settled
      expect(timers.size).toBe(1)
      yield* Scope.close(scope, yield* Effect.exit(Effect.void))
      expect(timers.size).toBe(0)
      keyspace.set("earlier", "v", 500)
      yield* passes(2_000)
      expect([timers.size, expired]).toEqual([0, []])
    })
  )
})

type Step =
  | { readonly type: "set"; readonly key: number; readonly inMs: number }
  | { readonly type: "persist"; readonly key: number }
  | { readonly type: "pass"; readonly ms: number }
  | { readonly type: "kill" }
  | { readonly type: "settle" }

const span = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 300_000 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant("set"), key: fc.nat(20), inMs: span }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("persist"), key: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("pass"), ms: span }) },
  { weight: 2, arbitrary: fc.constant({ type: "kill" } as const) },
  { weight: 1, arbitrary: fc.constant({ type: "settle" } as const) }
)

/** Kills come between any two steps, several in a row, and with words in the mailbox that were never read. */
const replay = (steps: readonly Step[]) =>
  Effect.gen(function* () {
    const { keyspace } = yield* running()
    const deadlines = new Map<string, number>()
    let nowMs = 0
    for (const each of steps) {
      if (each.type === "set") {
        keyspace.set(`k${each.key}`, "v", nowMs + each.inMs)
        deadlines.set(`k${each.key}`, nowMs + each.inMs)
      } else if (each.type === "persist") {
        keyspace.expireAt(`k${each.key}`, 0)
        deadlines.delete(`k${each.key}`)
      } else if (each.type === "kill") yield* kill
      else if (each.type === "settle") yield* settled
      else {
        nowMs += each.ms
        yield* passes(each.ms)
        for (const [key, atMs] of deadlines) if (atMs <= nowMs) deadlines.delete(key)
        expect(keyspace.expiringSize).toBe(deadlines.size)
      }
    }
    yield* passes(1_000_000)
    expect(keyspace.expiringSize).toBe(0)
    keyspace.checkInvariants()
  })
