/** Whatever is started, waited for, answered, ended and removed, in whatever order: nothing is left of it. */
import { getEventListeners } from "node:events"
import { expect, it } from "vitest"
import { EventBus, Tenant, tenantLimitsDefault } from "../../src/cache/index.ts"
import { Keyspace } from "../../src/kernel/index.ts"
import { Run } from "../../src/scripting/Run.ts"
import { KeptState, Runs } from "../../src/scripting/Runs.ts"
import { firstSeed, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"
import { type Act, FakeScript, plans } from "./FakeWorld.ts"
import { VirtualTime } from "./VirtualTime.ts"

interface Seen {
  readonly run: Run
  ends: number
}

const schedule = async (random: Random): Promise<void> => {
  plans.clear()
  const time = new VirtualTime()
  const runs: Runs = new Runs({
    clock: time,
    bus: new EventBus(),
    limits: { ...tenantLimitsDefault, fuelPerSecond: 1e12 },
    random: () => 1,
    runsMax: 12,
    statesMax: 3
  })
  const script = new FakeScript("fake", () => runs, time)
  const tenants = Array.from({ length: 3 }, (_, i) => tenantOf(`t${i}`, time, random))
  const seen: Seen[] = []
  const states: KeptState[] = []
  const signals: AbortController[] = []
  let answered = 0

  const acts = (): Act[] =>
    Array.from({ length: random.between(0, 4) }, (): Act => {
      const chance = random.below(20)
      if (chance < 9) return random.pick([0.01, 0.3, 1, 4, 30])
      if (chance < 15) return "wait"
      if (chance < 16) return "error"
      if (chance < 17) return "kill"
      if (chance < 18) return () => begin() // from within the run of another
      if (chance < 19) return () => random.pick(seen)?.run.interrupt("another run has said so")
      return "throw"
    })
  const begin = (): void => {
    const name = `plan ${plans.size}`
    plans.set(name, acts())
    const limits = { computeMs: random.pick([5, 50]), waitMs: random.pick([3, 40]) }
    const abort = random.oneIn(3) ? new AbortController() : undefined
    if (abort !== undefined) signals.push(abort)
    const request = { limits, ...(abort === undefined ? {} : { signal: abort.signal }) }
    const state = states.length > 0 && random.oneIn(3) ? random.pick(states) : undefined
    const account = runs.account(random.oneIn(4) ? null : random.pick(tenants))
    const run = state === undefined ? runs.start(script, account, name, [], request) : state.start(name, [], request)
    if (!(run instanceof Run)) return
    const entry: Seen = { run, ends: run.isEnded ? 1 : 0 }
    run.onEnd = () => entry.ends++
    seen.push(entry)
  }

  for (let act = 0; act < 80; act++) {
    const chance = random.below(20)
    if (chance < 8) begin()
    else if (chance < 10) {
      const state = runs.keep(script, runs.account(random.pick(tenants)), {})
      if (state instanceof KeptState) states.push(state)
    } else if (chance < 13) {
      script.answers[answered++]?.(random.oneIn(4) ? new Error("no answer") : "answer")
      await Promise.resolve()
      await Promise.resolve()
    } else if (chance < 14) random.pick(signals.length === 0 ? [new AbortController()] : signals).abort()
    else if (chance < 15) states.splice(random.below(states.length + 1), 1)[0]?.close()
    else if (chance < 16 && random.oneIn(3)) {
      const at = random.below(tenants.length)
      const tenant = tenants[at] as Tenant
      tenant.isOpen = false
      runs.close(tenant)
      tenants[at] = tenantOf(tenant.id, time, random)
    } else if (chance < 17) {
      time.ms += random.between(1, 30)
      time.turn()
    } else time.turn()
    const live = seen.filter(({ run }) => !run.isEnded).length
    expect(runs.size).toBe(live)
    expect(runs.suspended + runs.scheduler.queued).toBeLessThanOrEqual(live)
    expect(seen.filter(({ run, ends }) => ends !== (run.isEnded ? 1 : 0))).toEqual([])
  }

  // Nobody ends anything any more: time alone does.
  for (const state of states) state.close()
  for (let i = 0; i < 300 && (runs.size > 0 || time.hasTurn); i++) {
    time.pass(1)
    await Promise.resolve()
  }
  expect(runs.size).toBe(0)
  expect(runs.states).toBe(0)
  expect(runs.suspended).toBe(0)
  expect(runs.scheduler.queued).toBe(0)
  expect(time.timerCount).toBe(0)
  expect(script.worlds.filter(({ isOpen }) => isOpen)).toEqual([])
  for (const { signal } of signals) expect(getEventListeners(signal, "abort")).toEqual([])
  expect(seen.filter(({ run, ends }) => !run.isEnded || ends !== 1)).toEqual([])
  const { outcomes } = runs.counters
  expect(Object.values(outcomes).reduce((sum, count) => sum + count, 0)).toBe(seen.length)
}

const tenantOf = (id: string, time: VirtualTime, random: Random): Tenant =>
  new Tenant(
    id,
    id,
    new Keyspace({ maxEntries: 10, maxBytes: 1 << 16, clock: time, sink: { onEvent() {}, onSettled() {} }, wake() {} }),
    {
      ...tenantLimitsDefault,
      runsMax: random.between(1, 8),
      fuelPerSecond: random.pick([1e12, 20_000_000]) // 80 ms of computing a second
    },
    time.nowMs()
  )

it(
  "any schedule of starts, waits, answers, interruptions and removals leaves nothing, and each run ends once",
  async () => {
    const count = scheduleCount(300)
    for (let seed = firstSeed; seed < firstSeed + count; seed++) {
      try {
        await schedule(new Random(seed))
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        throw new Error(`repeat with MIMOSA_SEED=${seed} MIMOSA_SCHEDULES=1: ${reason}`, { cause })
      }
      if (seed % 20 === 0) await new Promise(setImmediate)
    }
  },
  propertyTimeoutMs
)
