/**
 * A world in which Effect programs run synchronously, in virtual time, and always in the same way: a clock, a scheduler and
 * random numbers, all from one seed.
 *
 * Effect's TestClock moves real fibers on the real event loop and must wait for them to settle, which takes milliseconds a step.
 * Here nothing runs but what is drained, so a step takes microseconds and a hundred thousand schedules are a matter of minutes. A fault
 * that shows once shows again under the same seed.
 *
 * - Fibers that are ready run in an order drawn from the seed (or first come first served): what one interleaving hides, another shows.
 * - Time stands still while anything is ready. `advance` moves it from timer to timer; equal times go by order of setting.
 * - What does not come from Effect (promises, sockets, `setTimeout`) is not simulated: a program that waits for it is `stuck`.
 *
 * [1] FoundationDB's simulation, and TigerBeetle's VOPR, for the idea.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type * as Scheduler from "effect/Scheduler"

export interface Options {
  /** Any integer; the same one gives the same run. */
  readonly seed: number
  /** Which of the ready fibers is next. Default `random`. */
  readonly order?: "random" | "fifo"
  /** What the clock shows first. Default 0. */
  readonly startMs?: number
}

/**
 * One world.
 *
 * @example
 * const simulation = Simulation.make({ seed: 42 })
 * const exit = simulation.run(Effect.sleep("1 hour").pipe(Effect.as("done"))) // at once
 */
export class Simulation {
  readonly seed: number
  readonly clock: SimulatedClock
  readonly random: Seeded
  readonly #scheduler: DrainedScheduler

  constructor({ order = "random", seed, startMs = 0 }: Options) {
    this.seed = seed
    this.random = new Seeded(seed)
    this.clock = new SimulatedClock(startMs)
    this.#scheduler = new DrainedScheduler(order === "random" ? new Seeded(seed ^ schedulerSalt) : null)
  }

  /** Virtual time in milliseconds. */
  get nowMs(): number {
    return this.clock.nowMs
  }

  /** Starts an effect in this world. It runs until it first has to wait; the rest is for `drain` and `advance`. */
  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> {
    const placed = effect.pipe(Effect.withClock(this.clock), Effect.withRandom(Random.make(this.seed)))
    return Effect.runFork(placed, { scheduler: this.#scheduler })
  }

  /** Runs all that is ready, until nothing is. Throws after `tasksMax` (default a million) fiber steps: a livelock. */
  drain(tasksMax = 1_000_000): void {
    this.#scheduler.drain(tasksMax)
  }

  /** Lets `ms` pass: timers fall due in order, and all that they wake runs before the next one. */
  advance(ms: number): void {
    const untilMs = this.clock.nowMs + ms
    this.drain()
    while (this.clock.fireNext(untilMs)) this.drain()
    this.clock.set(untilMs)
  }

  /** Goes to the next timer, if there is one, and runs what it wakes. */
  step(): boolean {
    this.drain()
    const hasFired = this.clock.fireNext(Number.POSITIVE_INFINITY)
    this.drain()
    return hasFired
  }

  /** Runs an effect to its end, with as much time as it needs. Throws when it waits for something that cannot come. */
  run<A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    const fiber = this.fork(effect)
    this.drain()
    for (let exit = fiber.unsafePoll(); ; exit = fiber.unsafePoll()) {
      if (exit !== null) return exit
      if (!this.step())
        throw new Error(`stuck at ${this.nowMs} ms (seed ${this.seed}): nothing is ready and no timer is set`)
    }
  }
}

export const make = (options: Options): Simulation => new Simulation(options)

/** Random numbers from a seed: the same sequence on every machine. Not for secrets. [1] Tommy Ettinger's mulberry32. */
export class Seeded {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** From 0 up to but not 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from 0 up to but not `below`. */
  int(below: number): number {
    return Math.floor(this.next() * below)
  }

  /** True this often in one. */
  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<A>(items: ReadonlyArray<A>): A {
    if (items.length === 0) throw new RangeError("there is nothing to pick from")
    return items[this.int(items.length)] as A
  }
}

/** Time that moves when it is told to. */
export class SimulatedClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  readonly #timers = new TimerHeap()
  #nowMs: number
  #set = 0

  constructor(startMs: number) {
    this.#nowMs = startMs
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size
  }

  unsafeCurrentTimeMillis(): number {
    return this.#nowMs
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.round(this.#nowMs * 1_000_000))
  }

  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      const cancel = this.unsafeSchedule(() => resume(Effect.void), Duration.toMillis(duration))
      return Effect.sync(cancel)
    })
  }

  /** Runs `task` in `delayMs`, unless the returned function is called first. */
  unsafeSchedule(task: () => void, delayMs: number): () => void {
    const timer: SimulatedTimer = { atMs: this.#nowMs + Math.max(delayMs, 0), order: this.#set++, task }
    this.#timers.push(timer)
    return () => {
      timer.task = null
    }
  }

  /** Fires the first timer, unless it is due after `untilMs`. */
  fireNext(untilMs: number): boolean {
    for (let timer = this.#timers.first; timer !== undefined && timer.atMs <= untilMs; timer = this.#timers.first) {
      this.#timers.pop()
      const { task } = timer
      if (task === null) continue
      this.set(timer.atMs)
      task()
      return true
    }
    return false
  }

  set(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs
  }
}

/** Keeps what is ready until somebody drains it. */
class DrainedScheduler implements Scheduler.Scheduler {
  readonly #ready: Array<Scheduler.Task> = []
  readonly #random: Seeded | null
  #next = 0

  constructor(random: Seeded | null) {
    this.#random = random
  }

  shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    return fiber.currentOpCount > opsMax ? 0 : false
  }

  scheduleTask(task: Scheduler.Task): void {
    this.#ready.push(task)
  }

  drain(tasksMax: number): void {
    for (let run = 0; this.#next < this.#ready.length; run++) {
      if (run >= tasksMax) throw new Error(`still not done after ${tasksMax} steps of fibers: a livelock`)
      this.#take()()
    }
    this.#ready.length = this.#next = 0
  }

  #take(): Scheduler.Task {
    const ready = this.#ready
    if (this.#random !== null) {
      const last = ready.length - 1
      const chosen = this.#random.int(ready.length)
      const task = ready[chosen] as Scheduler.Task
      ready[chosen] = ready[last] as Scheduler.Task
      ready.pop()
      return task
    }
    const task = ready[this.#next++] as Scheduler.Task
    if (this.#next === queueSlackMax) {
      ready.splice(0, this.#next)
      this.#next = 0
    }
    return task
  }
}

const opsMax = 2048 // Effect's own number of steps before a fiber lets others run
const queueSlackMax = 4096 // tasks that have run and are still in the array; bounds a drain that never ends
const schedulerSalt = 0x5bf03635 // so that the scheduler's draws are not those of the test

interface SimulatedTimer {
  readonly atMs: number
  readonly order: number
  task: (() => void) | null
}

/** A binary heap by time, then by order of setting. */
class TimerHeap {
  readonly #heap: Array<SimulatedTimer> = []

  get size(): number {
    return this.#heap.filter((timer) => timer.task !== null).length
  }

  get first(): SimulatedTimer | undefined {
    return this.#heap[0]
  }

  push(timer: SimulatedTimer): void {
    const heap = this.#heap
    let at = heap.push(timer) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (isBefore(heap[parent] as SimulatedTimer, timer)) break
      heap[at] = heap[parent] as SimulatedTimer
      at = parent
    }
    heap[at] = timer
  }

  pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      const right = child + 1
      if (right < heap.length && isBefore(heap[right] as SimulatedTimer, heap[child] as SimulatedTimer)) child = right
      if (isBefore(last, heap[child] as SimulatedTimer)) break
      heap[at] = heap[child] as SimulatedTimer
      at = child
    }
    heap[at] = last
  }
}

const isBefore = (a: SimulatedTimer, b: SimulatedTimer): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
