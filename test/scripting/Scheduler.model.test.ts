/** Whose turn it is, against a plain model of it, in virtual time. */
import { describe, expect, it } from "vitest"
import { type TenantLimits, tenantLimitsDefault } from "../../src/cache/index.ts"
import { Account } from "../../src/scripting/Account.ts"
import type { Line } from "../../src/scripting/Line.ts"
import { Scheduler, type Task } from "../../src/scripting/Scheduler.ts"
import { ScriptLogBytes } from "../../src/scripting/ScriptLog.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { VirtualTime } from "./VirtualTime.ts"

const fuelPerMs = 250_000

/** Computes for so many ms, then it is over. */
class Work implements Task<Work> {
  line: Line<Work> | null = null
  next: Work | null = null
  previous: Work | null = null
  fuelSpent = 0
  waitMs = Number.POSITIVE_INFINITY
  onExpired: (work: Work) => void = () => {}
  endedMs: number | null = null
  endedTurn: number | null = null
  readonly startedMs: number

  constructor(
    readonly name: string,
    readonly account: Account<Work>,
    private readonly time: VirtualTime,
    private leftMs: number,
    private readonly seen: string[] = [],
    private readonly turns: () => number = () => 0
  ) {
    this.startedMs = time.ms
  }

  step(sliceMs: number): boolean {
    const ms = Math.min(sliceMs, this.leftMs)
    this.time.ms += ms
    this.leftMs -= ms
    this.fuelSpent += ms * fuelPerMs
    this.seen.push(this.name)
    if (this.leftMs > 1e-9) return true
    this.endedMs = this.time.ms
    this.endedTurn = this.turns()
    return false
  }

  expire(nowMs: number): void {
    if (nowMs - this.startedMs > this.waitMs) this.onExpired(this)
  }
}

const limitsWith = (limits: Partial<TenantLimits> = {}): TenantLimits => ({
  ...tenantLimitsDefault,
  fuelPerSecond: 1e12,
  ...limits
})

const logs = new ScriptLogBytes()

const accountOf = (time: VirtualTime, limits?: Partial<TenantLimits>) =>
  new Account<Work>(null, limitsWith(limits), logs, time.ms)

describe("the scheduler", () => {
  it("takes the first step within the call when nobody is in the way", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const run = new Work("a", accountOf(time), time, 0.01)
    scheduler.start(run)
    expect(run.endedMs).toBe(0.01)
    expect(scheduler.queued).toBe(0)
  })

  it("lets the event loop have its turn once scripts have had their millisecond", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const account = accountOf(time)
    const runs = Array.from({ length: 20 }, () => new Work("a", account, time, 0.1))
    for (const run of runs) scheduler.start(run)
    const inline = runs.filter(({ endedMs }) => endedMs !== null).length
    expect(inline).toBe(8) // of 0.1 ms each, until 0.75 ms are spent
    expect(scheduler.queued).toBe(12)
    time.turn()
    expect(scheduler.queued).toBe(4)
    time.settle()
    expect(scheduler.queued).toBe(0)
  })

  it("has one slice a turn for those who compute, however many short runs there are", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const burner = new Work("burner", accountOf(time), time, 100)
    scheduler.start(burner)
    const other = accountOf(time)
    for (let turn = 0; turn < 50; turn++) {
      const before = burner.fuelSpent
      for (let i = 0; i < 40; i++) scheduler.start(new Work("short", other, time, 0.05))
      time.turn()
      expect(burner.fuelSpent - before).toBe(0.25 * fuelPerMs)
    }
  })

  it("never has the thread for much more than a millisecond between two turns", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    for (let i = 0; i < 30; i++) scheduler.start(new Work(`burner ${i}`, accountOf(time), time, 10))
    for (let turn = 0; turn < 500 && scheduler.queued > 0; turn++) {
      const before = time.ms
      for (let i = 0; i < 5; i++) scheduler.start(new Work("short", accountOf(time), time, 0.1))
      time.turn()
      expect(time.ms - before).toBeLessThan(2.1)
    }
  })

  it("serves short runs within two turns beside a burner, and the burner goes on", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    let turns = 0
    const burner = accountOf(time)
    for (let i = 0; i < 100; i++) scheduler.start(new Work("burner", burner, time, 50, [], () => turns))
    const tenants = Array.from({ length: 99 }, () => accountOf(time))
    for (; turns < 300; turns++) {
      const started = turns
      const run = new Work("short", tenants[turns % 99] as Account<Work>, time, 0.02, [], () => turns)
      scheduler.start(run)
      if (run.endedMs === null) {
        time.turn()
        expect(run.endedTurn).toBe(started)
      } else time.turn()
    }
    expect(burner.counters.fuel).toBeGreaterThan(250 * 0.25 * fuelPerMs)
  })

  it("gives tenants one step each, however many runs one of them has", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const seen: string[] = []
    const [one, many] = [accountOf(time), accountOf(time)]
    for (let i = 0; i < 10; i++) scheduler.start(new Work("many", many, time, 30, seen))
    scheduler.start(new Work("one", one, time, 30, seen))
    for (let i = 0; i < 10; i++) time.turn() // each of them has had a slice
    seen.length = 0
    for (let i = 0; i < 40; i++) time.turn()
    expect(seen.filter((name) => name === "one")).toHaveLength(20)
    expect(seen).toHaveLength(40)
  })

  it("holds a tenant whose fuel is spent until it has some again, and nobody else", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const poor = accountOf(time, { fuelPerSecond: 2 * fuelPerMs }) // 2 ms of computing a second
    const rich = accountOf(time)
    const work = new Work("poor", poor, time, 6)
    scheduler.start(work)
    scheduler.start(new Work("rich", rich, time, 2))
    time.settle()
    expect(rich.queued).toBe(0)
    expect(work.endedMs).toBeNull()
    expect(time.timerCount).toBe(1)
    expect(time.hasTurn).toBe(false) // held, not asked for again and again
    time.pass(1_400) // 2 ms of computing at first, 2.8 since, and at most one that is overdrawn
    expect(work.endedMs).toBeNull()
    time.pass(1_000)
    expect(work.endedMs).not.toBeNull()
    expect(time.timerCount).toBe(0)
  })

  it("looks in the meantime whether a run that is held may wait any longer, and keeps the order of the others", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const poor = accountOf(time, { fuelPerSecond: fuelPerMs / 100 }) // a slice takes a hundred seconds to come back
    const seen: string[] = []
    const all = ["a", "b", "c", "d"].map((name) => new Work(name, poor, time, 1, seen))
    const ended: string[] = []
    for (const work of all) {
      work.waitMs = work.name === "b" ? 300 : 1_000_000
      work.onExpired = (expired) => {
        ended.push(expired.name)
        scheduler.remove(expired)
      }
      scheduler.start(work)
    }
    time.settle()
    expect(scheduler.queued).toBe(3)
    time.pass(299)
    expect(ended).toEqual([])
    time.pass(200)
    expect(ended).toEqual(["b"])
    expect(scheduler.queued).toBe(2)
    time.pass(200_000)
    expect(seen.filter((name, i) => seen.indexOf(name) === i)).toEqual(["a", "c", "d"])
    for (const work of all) scheduler.remove(work)
    expect(time.timerCount).toBe(0)
  })

  it("forgets the wait for fuel with the last run that was held", () => {
    const time = new VirtualTime()
    const scheduler = new Scheduler<Work>(time)
    const poor = accountOf(time, { fuelPerSecond: 1_000 })
    const work = new Work("poor", poor, time, 4)
    scheduler.start(work)
    time.settle()
    expect(time.timerCount).toBe(1)
    scheduler.remove(work)
    expect(time.timerCount).toBe(0)
    expect(scheduler.queued).toBe(0)
  })
})

it(
  "gives tenants that compute without end the fuel that they may have, no more and hardly less, beside one without limit",
  () =>
    forAllSeeds(40, (random: Random) => {
      const time = new VirtualTime()
      const scheduler = new Scheduler<Work>(time)
      const ratesMs = Array.from({ length: random.between(1, 5) }, () => random.between(2, 90))
      const accounts = ratesMs.map((ms) => accountOf(time, { fuelPerSecond: ms * fuelPerMs }))
      const rich = accountOf(time)
      for (const account of [...accounts, rich]) {
        for (let i = random.between(1, 8); i > 0; i--) scheduler.start(new Work("burner", account, time, 1e9))
      }
      const endMs = 5_000
      while (time.ms < endMs) time.turn()
      for (const [i, { counters }] of accounts.entries()) {
        const rate = (ratesMs[i] as number) * fuelPerMs
        const most = rate + (rate * endMs) / 1000 // the full bucket at first, and what has come since
        expect(counters.fuel).toBeLessThanOrEqual(most + 1.01 * fuelPerMs)
        expect(counters.fuel).toBeGreaterThan(0.9 * most)
      }
      expect(scheduler.queued).toBeGreaterThan(0)
      expect(rich.counters.fuel).toBeGreaterThan(endMs * fuelPerMs * 0.2)
    }),
  propertyTimeoutMs
)

/** The same rules, written as naively as they can be. */
class PlainScheduler {
  readonly quick: string[] = []
  readonly slow: string[] = []
  private readonly runs = new Map<string, string[]>()

  enqueue(account: string, run: string, order: "quick" | "slow"): void {
    const key = `${order} ${account}`
    const waiting = this.runs.get(key) ?? []
    this.runs.set(key, [...waiting, run])
    if (!this[order].includes(account)) this[order].push(account)
  }

  remove(account: string, run: string): void {
    for (const order of ["quick", "slow"] as const) {
      const key = `${order} ${account}`
      const left = (this.runs.get(key) ?? []).filter((each) => each !== run)
      this.runs.set(key, left)
      if (left.length === 0 && this[order].includes(account)) this[order].splice(this[order].indexOf(account), 1)
    }
  }

  take(order: "quick" | "slow"): string | undefined {
    const account = this[order].shift()
    if (account === undefined) return undefined
    const [run, ...left] = this.runs.get(`${order} ${account}`) as string[]
    this.runs.set(`${order} ${account}`, left)
    if (left.length > 0) this[order].push(account)
    return run
  }
}

it(
  "takes the steps that a plain model takes, in its order",
  () =>
    forAllSeeds(1_000, (random: Random) => {
      const time = new VirtualTime()
      const scheduler = new Scheduler<Work>(time)
      const model = new PlainScheduler()
      const seen: string[] = []
      const expected: string[] = []
      const accounts = Array.from({ length: random.between(1, 5) }, () => accountOf(time))
      const waiting = new Map<string, { run: Work; account: string; leftMs: number }>()
      let spent = 0
      let names = 0
      const isWaiting = (account: string) => model.quick.includes(account)
      /** What the model makes of a step. */
      const step = (name: string, account: string, leftMs: number, run: Work) => {
        expected.push(name)
        const sliceMs = model.quick.length + model.slow.length === 0 ? 1 : 0.25
        const ms = Math.min(sliceMs, leftMs)
        spent += ms + 0.002
        if (leftMs - ms <= 1e-9) waiting.delete(name)
        else {
          waiting.set(name, { run, account, leftMs: leftMs - ms })
          model.enqueue(account, name, "slow")
        }
      }
      for (let act = 0; act < 60; act++) {
        const chance = random.below(10)
        if (chance < 6) {
          const index = random.below(accounts.length)
          const [name, account] = [`run ${++names}`, String(index)]
          const leftMs = random.pick([0.01, 0.125, 0.25, 0.5, 1, 3])
          const run = new Work(name, accounts[index] as Account<Work>, time, leftMs, seen)
          if (spent < 0.75 && !isWaiting(account)) step(name, account, leftMs, run)
          else {
            waiting.set(name, { run, account, leftMs })
            model.enqueue(account, name, "quick")
          }
          scheduler.start(run)
        } else if (chance < 7 && waiting.size > 0) {
          const name = random.pick([...waiting.keys()])
          const { run, account } = waiting.get(name) as { run: Work; account: string }
          model.remove(account, name)
          waiting.delete(name)
          scheduler.remove(run)
        } else {
          spent = 0
          const takeOne = (order: "quick" | "slow"): boolean => {
            const name = model.take(order)
            if (name === undefined) return false
            const { run, account, leftMs } = waiting.get(name) as { run: Work; account: string; leftMs: number }
            step(name, account, leftMs, run)
            return true
          }
          while (spent < 0.75 && takeOne("quick")) {}
          takeOne("slow")
          time.turn()
        }
        expect(seen).toEqual(expected)
        expect(scheduler.queued).toBe(waiting.size)
      }
      time.settle()
      expect(scheduler.queued).toBe(0)
      expect(time.timerCount).toBe(0)
    }),
  propertyTimeoutMs
)
