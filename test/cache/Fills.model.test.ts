/**
 * Fills under random schedules, against what can be said without them: a plain record of who waits for which load.
 *
 * Loads end, fail and are given up in any order; between them keys are written, deleted and invalidated one by one, by
 * tag and by prefix. Beside it stands an origin that has a number for each key, which goes up with each change: what
 * somebody is answered is never older than what the origin had when he asked (law 11), and neither is what is stored.
 */
import { expect, it } from "vitest"
import { Fills, type Loader, loaderOf } from "../../src/cache/index.ts"
import { Keyspace, noMeta } from "../../src/kernel/index.ts"
import { firstSeed, propertyTimeoutMs, Random, scheduleCount } from "../support/Random.ts"

interface Load {
  readonly key: string
  readonly signal: AbortSignal
  /** What the origin had when it began; its answer. */
  readonly value: number
  readonly end: (failure?: Error) => void
  /** No change of its key has come since it began. */
  isCurrent: boolean
  isOver: boolean
}

interface Caller {
  readonly key: string
  readonly load: Load
  /** The origin's value when he asked. */
  readonly askedAt: number
  readonly giveUp: AbortController
  state: "waits" | "answered" | "failed" | "left"
  value: unknown
}

const keys = ["a:1", "a:2", "b"]
const tagOf = (key: string): string => (key === "b" ? "t2" : "t1")

const schedule = async (random: Random): Promise<void> => {
  let nowMs = 1_000
  const keyspace = new Keyspace({
    maxEntries: random.between(1, 4),
    maxBytes: 1 << 16,
    clock: { nowMs: () => nowMs },
    sink: { onEvent() {}, onSettled() {} },
    wake() {}
  })
  const timers = new Map<() => void, number>()
  const fills = new Fills({
    nowMs: () => nowMs,
    after: (ms, action) => {
      timers.set(action, nowMs + ms)
      return () => timers.delete(action)
    }
  })
  const origin = new Map(keys.map((key) => [key, 0]))
  const at = (key: string): number => origin.get(key) as number
  const loads: Load[] = []
  const callers: Caller[] = []
  const begin: Loader["load"] = ({ key, signal }) =>
    new Promise((resolve, reject) => {
      const load: Load = {
        ...{ key, signal, value: at(key), isCurrent: true, isOver: false },
        end: (failure) => {
          load.isOver = true
          if (failure === undefined) resolve(load.value)
          else reject(failure)
        }
      }
      loads.push(load)
    })
  const loaders = new Map(
    keys.map((key) => {
      const loader = loaderOf(begin, { tags: [tagOf(key)], ttl: 50, timeoutMs: 30 })
      if (!("load" in loader)) throw loader
      return [key, loader]
    })
  )
  /** The origin changes, and the cache is told so. */
  const change = (concerned: readonly string[], tell: () => void): void => {
    for (const key of concerned) origin.set(key, at(key) + 1)
    tell()
    for (const load of loads) if (concerned.includes(load.key)) load.isCurrent = false
  }
  const ask = (key: string): void => {
    const cached = keyspace.get(key)
    if (cached !== undefined) {
      expect(cached).toBe(at(key))
      return
    }
    const giveUp = new AbortController()
    const before = loads.length
    const running = loads.findLast((load) => load.key === key && !load.isOver && load.isCurrent && !load.signal.aborted)
    const answer = fills.load(keyspace, key, loaders.get(key) as Loader, giveUp.signal)
    expect(loads.length - before).toBe(running === undefined ? 1 : 0) // single flight, and no flight is joined that is old
    const load = running ?? (loads.at(-1) as Load)
    const caller: Caller = { key, load, askedAt: at(key), giveUp, state: "waits", value: undefined }
    callers.push(caller)
    answer.then(
      (value) => Object.assign(caller, { state: "answered", value }),
      () => {
        if (caller.state === "waits") caller.state = "failed"
      }
    )
  }
  const waitsFor = (load: Load) => callers.filter((caller) => caller.load === load && caller.state === "waits")
  for (let step = random.between(5, 60); step > 0; step--) {
    const key = random.pick(keys)
    const kind = random.below(100)
    const load = loads.length === 0 ? undefined : random.pick(loads)
    let expected: () => void = () => {}
    if (kind < 35) ask(key)
    else if (kind < 55 && load !== undefined && !load.isOver && !load.signal.aborted) {
      const waiting = waitsFor(load)
      const failure = random.oneIn(4) ? new Error("no") : undefined
      load.end(failure)
      const isStored = failure === undefined && load.isCurrent
      expected = () => {
        for (const { state, value, askedAt } of waiting) {
          expect(state).toBe(failure === undefined ? "answered" : "failed")
          if (failure === undefined) expect(value).toBe(load.value)
          if (failure === undefined) expect(value).toBeGreaterThanOrEqual(askedAt)
        }
        if (isStored) expect(keyspace.peek(load.key)?.value).toBe(load.value)
      }
    } else if (kind < 65 && load !== undefined) {
      const [caller] = waitsFor(load)
      if (caller === undefined) continue
      caller.state = "left"
      caller.giveUp.abort()
      expect(load.signal.aborted).toBe(waitsFor(load).length === 0)
    } else if (kind < 75) change([key], () => keyspace.set(key, at(key), 0, { ...noMeta, tags: [tagOf(key)] }))
    else if (kind < 80) change([key], () => keyspace.delete(key))
    else if (kind < 85) change([key], () => keyspace.invalidate(key))
    else if (kind < 89)
      change(
        keys.filter((each) => tagOf(each) === "t1"),
        () => keyspace.invalidateTags(["t1"])
      )
    else if (kind < 93) change(["a:1", "a:2"], () => keyspace.invalidatePrefix("a:"))
    else if (kind < 95) change(keys, () => keyspace.flush())
    else {
      nowMs += random.between(1, 20)
      keyspace.advance(nowMs, 100)
      for (const [action, atMs] of [...timers]) if (atMs <= nowMs && timers.delete(action)) action()
    }
    for (let turn = 0; turn < 12; turn++) await Promise.resolve()
    expected()
    for (const each of keys) {
      const stored = keyspace.peek(each)?.value
      if (stored !== undefined) expect(stored).toBe(at(each))
    }
    expect(fills.waiters).toBe(callers.filter(({ state }) => state === "waits").length)
    fills.checkInvariants()
    keyspace.checkInvariants()
  }
}

const schedules = 1_000 // some 3 s

it("nobody is told or left with what is older than his question, whatever happens in between", {
  timeout: propertyTimeoutMs
}, async () => {
  for (let seed = firstSeed; seed < firstSeed + scheduleCount(schedules); seed++) {
    try {
      await schedule(new Random(seed))
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`repeat with MIMOSA_SEED=${seed} MIMOSA_SCHEDULES=1: ${reason}`, { cause })
    }
    if (seed % 100 === 0) await new Promise(setImmediate)
  }
})
