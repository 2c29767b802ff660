/** Runs from their start to their end, with worlds that do as they are told, in virtual time. */
import { describe, expect, it } from "vitest"
import { EventBus, Tenant, tenantLimitsDefault } from "../../src/cache/index.ts"
import { Keyspace } from "../../src/kernel/index.ts"
import { AnswerError } from "../../src/sandbox/index.ts"
import { Run } from "../../src/scripting/Run.ts"
import { KeptState, Runs, type RunsOptions } from "../../src/scripting/Runs.ts"
import {
  ScriptInterrupted,
  ScriptKilled,
  ScriptQuotaExceeded,
  ScriptRuntimeError,
  ScriptTimeout
} from "../../src/scripting/ScriptError.ts"
import { type Act, FakeScript, plans } from "./FakeWorld.ts"
import { VirtualTime } from "./VirtualTime.ts"

const tenantNamed = (id: string, time: VirtualTime, limits: Partial<typeof tenantLimitsDefault> = {}): Tenant =>
  new Tenant(id, id, keyspaceOf(time), { ...tenantLimitsDefault, fuelPerSecond: 1e12, ...limits }, time.nowMs())

const keyspaceOf = (time: VirtualTime): Keyspace =>
  new Keyspace({
    maxEntries: 100,
    maxBytes: 1 << 20,
    clock: time,
    sink: { onEvent() {}, onSettled() {} },
    wake() {}
  })

const setUp = (options: Partial<RunsOptions> = {}) => {
  const time = new VirtualTime()
  const bus = new EventBus()
  const limits = { ...tenantLimitsDefault, fuelPerSecond: 1e12 }
  const defects: unknown[] = []
  const runs: Runs = new Runs({
    clock: time,
    bus,
    limits,
    random: () => 7,
    onDefect: (_script, defect) => defects.push(defect),
    ...options
  })
  const script = new FakeScript("fake", () => runs, time)
  const start = (acts: Act[], tenant: Tenant | null = null, request = {}): Run => {
    const run = runs.start(script, runs.account(tenant), plan(acts), [], request)
    if (!(run instanceof Run)) throw run
    return run
  }
  const nothingIsLeft = () => {
    expect(runs.size).toBe(0)
    expect(runs.suspended).toBe(0)
    expect(runs.scheduler.queued).toBe(0)
    expect(time.timerCount).toBe(0)
    expect(script.worlds.filter(({ isOpen }) => isOpen)).toEqual([])
  }
  return { time, bus, runs, script, start, defects, nothingIsLeft }
}

let planned = 0
const plan = (acts: Act[]): string => {
  const name = `plan ${++planned}`
  plans.set(name, acts)
  return name
}

/** Promises have their turn; nothing else has. */
const promises = () => new Promise<void>((resolve) => process.nextTick(() => queueMicrotask(() => resolve())))

describe("a run", () => {
  it("that only computes for a moment has ended when its start returns", () => {
    const { start, nothingIsLeft, time } = setUp()
    const run = start([0.01])
    expect(run.isEnded).toBe(true)
    expect(run.value).toBe("done")
    expect(run.error).toBeNull()
    time.settle()
    nothingIsLeft()
  })

  it("computes in slices, with turns of the event loop between them", () => {
    const { start, time, runs, nothingIsLeft } = setUp()
    let ended = 0
    const run = start([4.5])
    run.onEnd = () => ended++
    expect(run.isEnded).toBe(false)
    time.settle()
    expect(run.value).toBe("done")
    expect(ended).toBe(1)
    expect(runs.scheduler.counters.steps).toBe(5)
    nothingIsLeft()
  })

  it("is stopped once it has computed for its limit", () => {
    const { start, time, nothingIsLeft } = setUp()
    const run = start([1_000], null, { limits: { computeMs: 3 } })
    time.settle()
    expect(run.error).toBeInstanceOf(ScriptTimeout)
    expect(run.error).toMatchObject({ kind: "computing", limitMs: 3, script: "fake", line: 3 })
    nothingIsLeft()
  })

  it("goes on with the answer for which it has waited", async () => {
    const { start, script, time, nothingIsLeft, runs } = setUp()
    const run = start(["wait", 0.1])
    expect(runs.suspended).toBe(1)
    script.answers[0]?.("here")
    await promises()
    expect(runs.scheduler.queued).toBe(1)
    time.settle()
    expect(run.value).toBe("done")
    expect(script.worlds[0]?.answers).toEqual(["here"])
    nothingIsLeft()
  })

  it("that waits for longer than it may is ended, and who would have answered is told", async () => {
    const { start, time, nothingIsLeft, script } = setUp()
    const run = start([0.5, "wait"], null, { limits: { waitMs: 100 } })
    time.pass(99)
    expect(run.isEnded).toBe(false)
    time.pass(2)
    expect(run.error).toBeInstanceOf(ScriptTimeout)
    expect(run.error).toMatchObject({ kind: "waiting", limitMs: 100, line: 8 })
    nothingIsLeft()
    script.answers[0]?.("too late")
    await promises()
    time.settle()
    nothingIsLeft()
  })

  it("counts all of its waits together, and not what it has computed itself", async () => {
    const { start, time, script } = setUp()
    const run = start(["wait", 20, "wait", "wait"], null, { limits: { waitMs: 100, computeMs: 50 } })
    time.pass(60)
    script.answers[0]?.(null)
    await promises()
    time.settle()
    time.pass(39)
    expect(run.isEnded).toBe(false)
    script.answers[1]?.(null)
    await promises()
    time.settle()
    expect(run.isEnded).toBe(false)
    time.pass(2)
    expect(run.error).toMatchObject({ kind: "waiting" })
  })

  it("that cannot have the thread within its time to wait is ended when its turn comes", () => {
    const { start, time } = setUp()
    const burner = start([10_000], null, { limits: { computeMs: 60_000 } })
    const run = start([0.1], null, { limits: { waitMs: 50 } })
    expect(run.isEnded).toBe(false)
    time.ms += 60
    time.turn()
    expect(run.error).toMatchObject({ kind: "waiting", limitMs: 50 })
    burner.interrupt("enough")
  })

  it("that fails says where and why, in the tenant's log as well", () => {
    const { start, time, runs } = setUp()
    const tenant = tenantNamed("t1", time)
    const run = start(["error"], tenant)
    expect(run.error).toBeInstanceOf(ScriptRuntimeError)
    expect(run.error?.message).toBe("fake:3: it is wrong")
    expect(runs.account(tenant).log.read()).toMatchObject([
      { number: 1, script: "fake", kind: "failed", text: "fake:3: it is wrong\nstack traceback:" }
    ])
  })

  it("that no error could stop is ended as killed", () => {
    const { start, nothingIsLeft } = setUp()
    expect(start(["kill"]).error).toBeInstanceOf(ScriptKilled)
    nothingIsLeft()
  })

  it("is ended, and told of, when a function of the host has a defect", () => {
    const { start, defects, nothingIsLeft, runs } = setUp()
    const run = start(["throw"])
    expect(run.error).toBeInstanceOf(ScriptKilled)
    expect(defects).toEqual([new Error("a defect")])
    expect(runs.current.run.tenant).toBeNull()
    nothingIsLeft()
  })

  it("has its tenant, its keyspace and its name while it runs, and nobody has them afterwards", () => {
    const { start, time, runs } = setUp()
    const tenant = tenantNamed("t1", time)
    const seen: unknown[] = []
    start([() => seen.push(runs.current.run.tenant, runs.current.run.keyspace, runs.current.run.name)], tenant)
    expect(seen).toEqual([tenant, tenant.keyspace, "fake"])
    expect(runs.current.run.tenant).toBeNull()
    expect(runs.current.run.keyspace).toBeNull()
  })

  it("that a function of the host starts within another has its own, and the other one its own again", () => {
    const { start, time, runs } = setUp()
    const [outer, inner] = [tenantNamed("outer", time), tenantNamed("inner", time)]
    const seen: Array<string | undefined> = []
    const look = () => seen.push(runs.current.run.tenant?.id)
    start([look, () => start([look], inner), look], outer)
    expect(seen).toEqual(["outer", "inner", "outer"])
  })

  it("begins its random numbers where it is asked to, or where chance has it", () => {
    const { start, script } = setUp()
    start([])
    start([], null, { seed: 42 })
    expect(script.worlds.map(({ seeds }) => seeds)).toEqual([[7], [42]])
  })
})

describe("an interruption", () => {
  it("ends a run that waits at once, and fires the signal of what it waits for", async () => {
    const { runs, script, time, nothingIsLeft } = setUp()
    const fired: unknown[] = []
    const ask = () =>
      runs.current.run.wait((signal) => {
        signal.addEventListener("abort", () => fired.push(signal.reason))
        return new Promise(() => {})
      })
    const run = runs.start(script, runs.account(null), plan([ask, "suspend"]), [], {}) as Run
    expect(run.isEnded).toBe(false)
    run.interrupt("nobody wants it")
    expect(run.error).toBeInstanceOf(ScriptInterrupted)
    expect(run.error?.message).toBe("fake:8: ended because nobody wants it")
    expect(fired).toEqual([run.error])
    time.settle()
    nothingIsLeft()
    await promises()
  })

  it("ends a run that waits for its turn at once", () => {
    const { start, nothingIsLeft, time } = setUp()
    const first = start([5])
    const second = start([5])
    second.interrupt("stop")
    expect(second.isEnded).toBe(true)
    expect(second.error).toMatchObject({ line: 0 }) // it has not begun
    first.interrupt("stop")
    time.settle()
    nothingIsLeft()
  })

  it("within its own step ends it after the step, unless it has ended by itself", () => {
    const { start, nothingIsLeft, time } = setUp()
    let self: Run | undefined
    const stop = () => self?.interrupt("by itself")
    const long = start(["wait", stop, 5])
    self = long
    long.interrupt("now")
    expect(long.error?.message).toContain("now")
    time.settle()
    nothingIsLeft()
  })

  it("by a signal counts before the start, during the run, and no more after it", () => {
    const { start, nothingIsLeft, time, runs, script } = setUp()
    const before = runs.start(script, runs.account(null), plan(["wait"]), [], { signal: AbortSignal.abort() })
    expect(before).toBeInstanceOf(ScriptInterrupted)
    expect(script.worlds).toHaveLength(0)
    const during = new AbortController()
    const run = start(["wait"], null, { signal: during.signal })
    during.abort()
    expect(run.error?.message).toBe("fake:8: ended because its signal was aborted")
    const after = new AbortController()
    const done = start([0.1], null, { signal: after.signal })
    after.abort()
    expect(done.value).toBe("done")
    time.settle()
    nothingIsLeft()
  })
})

describe("a tenant", () => {
  it("has so many runs at once as it may, and is told when to try again", () => {
    const { start, time, runs, script } = setUp()
    const tenant = tenantNamed("t1", time, { runsMax: 2 })
    const held = [start(["wait"], tenant), start(["wait"], tenant)]
    const refused = runs.start(script, runs.account(tenant), plan([]), [], {})
    expect(refused).toBeInstanceOf(ScriptQuotaExceeded)
    expect(refused).toMatchObject({ what: "runs", limit: 2, tenant: "t1", retryAfterMs: 100 })
    expect(start([], tenantNamed("t2", time)).value).toBe("done")
    held[0]?.interrupt("room")
    expect(start([], tenant).value).toBe("done")
  })

  it("whose fuel is spent is refused, with the time until there is some", () => {
    const { start, time, runs, script } = setUp()
    const tenant = tenantNamed("t1", time, { fuelPerSecond: 125_000, computeMs: 10 })
    expect(start([0.8], tenant).value).toBe("done")
    time.settle()
    const refused = runs.start(script, runs.account(tenant), plan([]), [], {})
    expect(refused).toMatchObject({ what: "fuel", limit: 125_000 })
    if (!(refused instanceof ScriptQuotaExceeded)) throw new Error("it was let in")
    time.pass(refused.retryAfterMs - 1)
    expect(runs.start(script, runs.account(tenant), plan([]), [], {})).toMatchObject({ what: "fuel", retryAfterMs: 1 })
    time.pass(1)
    expect(start([], tenant).value).toBe("done")
    expect(runs.counters.refused.fuel).toBe(2)
  })

  it("that may spend no fuel at all is told of a time, too", () => {
    const { time, runs, script } = setUp()
    const tenant = tenantNamed("t1", time, { fuelPerSecond: 0 })
    expect(runs.start(script, runs.account(tenant), plan([]), [], {})).toMatchObject({
      what: "fuel",
      retryAfterMs: 3_600_000
    })
  })

  it("whose fuel is spent for minutes hears at once, and of its runs under way when they may not wait longer", () => {
    const { start, time, runs, script, nothingIsLeft } = setUp()
    const tenant = tenantNamed("t1", time, { fuelPerSecond: 1_000, computeMs: 10, waitMs: 500 })
    const burners = [start([100], tenant)]
    expect(runs.start(script, runs.account(tenant), plan([]), [], {})).toMatchObject({ what: "fuel" })
    time.pass(499)
    expect(burners[0]?.isEnded).toBe(false)
    time.pass(102)
    expect(burners[0]?.error).toMatchObject({ kind: "waiting", line: 7 })
    expect(start([], tenantNamed("t2", time)).value).toBe("done")
    time.settle()
    nothingIsLeft()
  })

  it("pays for moving its worlds out of the machines and in again", () => {
    const { start, time, runs, script } = setUp()
    const tenant = tenantNamed("t1", time, { fuelPerSecond: 1_000_000 })
    const account = runs.account(tenant)
    account.images.moveFuel = 1_500_000
    expect(runs.start(script, account, plan([]), [], {})).toMatchObject({ what: "fuel", retryAfterMs: 501 })
    expect(account.images.moveFuel).toBe(0)
    expect(account.counters.fuel).toBe(1_500_000)
    time.pass(501)
    expect(start([], tenant).value).toBe("done")
  })

  it("that is removed takes all of its runs and states along, wherever they are", () => {
    const { start, time, runs, script, nothingIsLeft } = setUp()
    const tenant = tenantNamed("t1", time)
    const other = start([20], tenantNamed("t2", time))
    const all = [start(["wait"], tenant), start([20], tenant), start([20], tenant)]
    const state = runs.keep(script, runs.account(tenant), {}) as KeptState
    all.push(state.start(plan(["wait"]), [], {}) as Run, state.start(plan([]), [], {}) as Run)
    tenant.isOpen = false
    runs.close(tenant)
    for (const run of all) expect(run.error).toBeInstanceOf(ScriptInterrupted)
    expect(runs.start(script, runs.account(tenant), plan([]), [], {})).toBeInstanceOf(ScriptInterrupted)
    expect(state.start(plan([]), [], {})).toBeInstanceOf(ScriptInterrupted)
    expect(other.isEnded).toBe(false)
    time.settle()
    expect(other.value).toBe("done")
    expect(runs.states).toBe(0)
    nothingIsLeft()
  })

  it("that is removed by its own run loses that run after its step", () => {
    const { start, time, runs, nothingIsLeft } = setUp()
    const tenant = tenantNamed("t1", time)
    const run = start([() => runs.close(tenant), 20], tenant)
    expect(run.error?.message).toContain("its tenant was removed")
    time.settle()
    nothingIsLeft()
  })

  it("hears what its scripts print on its own channel", () => {
    const { start, time, runs, bus } = setUp()
    const heard: string[] = []
    bus.subscribe("t1:script:log", { onMessage: (_channel, payload) => heard.push(payload) })
    const printed: string[] = []
    const [mine, other] = [tenantNamed("t1", time), tenantNamed("t2", time)]
    const say = (line: string) => () => runs.current.run.print(line)
    start([say("hello")], mine, { print: (line: string) => printed.push(line) })
    start([say("secret")], other)
    expect(heard.map((line) => JSON.parse(line))).toMatchObject([{ number: 1, kind: "print", text: "hello" }])
    expect(printed).toEqual(["hello"])
    expect(
      runs
        .account(mine)
        .log.read()
        .map(({ text }) => text)
    ).toEqual(["hello"])
  })
})

describe("all tenants together", () => {
  it("have so many runs as the engine takes", () => {
    const { start, time, runs, script } = setUp({ runsMax: 3 })
    for (const id of ["a", "b", "c"]) start(["wait"], tenantNamed(id, time))
    const refused = runs.start(script, runs.account(tenantNamed("d", time)), plan([]), [], {})
    expect(refused).toMatchObject({ what: "engine", limit: 3 })
    runs.endEverything("the test is over")
    expect(runs.size).toBe(0)
  })
})

describe("a kept state", () => {
  const stateOf = (runs: Runs, script: FakeScript, tenant: Tenant | null = null) => {
    const state = runs.keep(script, runs.account(tenant), {})
    if (!(state instanceof KeptState)) throw state
    return state
  }

  it("runs in one world, one run after the other, in their order", async () => {
    const { runs, script, time } = setUp()
    const state = stateOf(runs, script)
    const ended: string[] = []
    const start = (name: string, acts: Act[]) => {
      const run = state.start(plan(acts), [], {}) as Run
      run.onEnd = () => ended.push(name)
      return run
    }
    start("first", ["wait"])
    start("second", [3])
    start("third", [])
    expect(ended).toEqual([])
    script.answers[0]?.(null)
    await promises()
    time.settle()
    expect(ended).toEqual(["first", "second", "third"])
    expect(script.worlds).toHaveLength(1)
    expect(script.worlds[0]).toMatchObject({ isOpen: true, resets: 0 })
    state.close()
    expect(script.worlds[0]?.isOpen).toBe(false)
    expect(runs.states).toBe(0)
  })

  it("is as it was after a Lua error, and a new one after a run that had to be stopped", () => {
    const { runs, script, time } = setUp()
    const state = stateOf(runs, script)
    state.start(plan(["error"]), [], {})
    expect(script.worlds[0]).toMatchObject({ isFresh: false, resets: 0 })
    const stopped = state.start(plan(["wait"]), [], {}) as Run
    const next = state.start(plan([]), [], {}) as Run
    stopped.interrupt("stop")
    time.settle()
    expect(next.value).toBe("done")
    expect(script.worlds[0]?.resets).toBe(1)
    state.start(plan([1_000]), [], { limits: { computeMs: 2 } })
    time.settle()
    expect(script.worlds[0]?.resets).toBe(2)
  })

  it("has a bound for the runs that wait for it", () => {
    const { runs, script } = setUp({ limits: { ...tenantLimitsDefault, runsMax: 1_000 } })
    const state = stateOf(runs, script)
    for (let i = 0; i < 101; i++) expect(state.start(plan(["wait"]), [], {})).toBeInstanceOf(Run)
    expect(state.start(plan([]), [], {})).toMatchObject({ what: "state", limit: 100 })
    state.close()
    expect(runs.size).toBe(0)
  })

  it("ends its runs when it is closed, also in the middle of a step", () => {
    const { runs, script, time, nothingIsLeft } = setUp()
    const state = stateOf(runs, script)
    const run = state.start(plan([() => state.close(), 20]), [], {}) as Run
    expect(run.error).toBeInstanceOf(ScriptInterrupted)
    expect(state.start(plan([]), [], {})).toBeInstanceOf(ScriptInterrupted)
    time.settle()
    nothingIsLeft()
  })
})

it("an answer that is an error reaches the script as one", async () => {
  const { runs, script, time } = setUp()
  const run = runs.start(script, runs.account(null), plan(["wait"]), [], {}) as Run
  const world = script.worlds[0]
  script.answers[0]?.(new Error("no such host"))
  await promises()
  time.settle()
  expect(world?.answers).toEqual([new AnswerError("no such host")])
  expect(run.isEnded).toBe(true)
})
