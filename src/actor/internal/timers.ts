/**
 * Time-outs by the thousand, nearly all of which are cancelled: every call has one.
 *
 * One doubly linked list for each distinct delay, and one alarm for each list that is not empty. Equal delays fall due
 * in the order in which they were set, so a list is sorted by being appended to: setting and cancelling are O(1) and
 * the alarm is only moved when it rings. `Effect.timeout` would fork two fibers and arm a timer of Node's for each call
 * (four times the cost of the call itself, docs/decisions.md).
 *
 * The alarm comes from the Effect `Clock` of the fiber that sets the time-out, so that a TestClock drives them all:
 * Node's own timer for the live clock, the clock's `unsafeSchedule` if it has one, and else a fiber that sleeps.
 *
 * [1] Varghese and Lauck, Hashed and Hierarchical Timing Wheels (1987), scheme 2 a delay; Node does the same in
 * lib/internal/timers.js.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** A time-out that can be set. The node is the timer: nothing else is allocated. */
export abstract class Timer {
  deadlineMs = 0
  list: TimerList | null = null
  earlier: Timer | null = null
  later: Timer | null = null

  /** The time is up. It is no longer set, and may be set again. */
  abstract onDue(): void
}

/** The time-outs on one clock. */
export class Timers {
  readonly #lists = new Map<number, TimerList>()
  readonly #source: AlarmSource

  constructor(source: AlarmSource) {
    this.#source = source
  }

  nowMs(): number {
    return this.#source.nowMs()
  }

  /** Sets `timer` to fall due in `delayMs`; for ever is not at all. It must not be set already. */
  set(timer: Timer, delayMs: number): void {
    if (delayMs === Number.POSITIVE_INFINITY) return
    const delay = delayMs > 0 ? Math.ceil(delayMs) : 0 // NaN too is at once, as for Effect's Duration
    let list = this.#lists.get(delay)
    if (list === undefined) {
      list = new TimerList(delay, this.#source, this.#lists)
      this.#lists.set(delay, list)
    }
    list.append(timer)
  }

  /** Runs `task` after a turn of the event loop, which serves sockets and timers; at once if the time is not Node's. */
  afterTurn(task: () => void): void {
    if (this.#source === liveSource) setImmediate(task)
    else task()
  }

  /** Time-outs that are set. */
  get size(): number {
    let size = 0
    for (const list of this.#lists.values()) size += list.size
    return size
  }
}

/** Does nothing if it is not set. */
export const cancel = (timer: Timer): void => {
  if (timer.list !== null) timer.list.remove(timer)
}

/** The time-outs of a clock. One object a clock, kept as long as the clock is. */
export const of = (clock: Clock.Clock): Timers => {
  if (clock === lastClock && lastTimers !== undefined) return lastTimers
  let timers = byClock.get(clock)
  if (timers === undefined) {
    timers = new Timers(sourceOf(clock))
    byClock.set(clock, timers)
  }
  lastClock = clock
  lastTimers = timers
  return timers
}

/** The time-outs of the clock among a fiber's default services. */
export const ofServices = (services: Context.Context<DefaultServices.DefaultServices>): Timers =>
  of(services.unsafeMap.get(Clock.Clock.key) as Clock.Clock)

/** Milliseconds of what the public doors take: a number is milliseconds already. */
export const millis = (duration: Duration.DurationInput): number =>
  typeof duration === "number" ? duration : Duration.toMillis(duration)

/**
 * A clock that can be asked for a wake-up synchronously, as deterministic clocks can.
 */
export interface SchedulingClock extends Clock.Clock {
  /** Runs `task` in `delayMs`, unless the returned function is called first. */
  unsafeSchedule(task: () => void, delayMs: number): () => void
}

class TimerList {
  readonly delayMs: number
  size = 0
  #first: Timer | null = null
  #last: Timer | null = null
  #alarm: Alarm | null = null
  readonly #source: AlarmSource
  readonly #lists: Map<number, TimerList>

  constructor(delayMs: number, source: AlarmSource, lists: Map<number, TimerList>) {
    this.delayMs = delayMs
    this.#source = source
    this.#lists = lists
  }

  append(timer: Timer): void {
    timer.deadlineMs = this.#source.nowMs() + this.delayMs
    timer.list = this
    timer.earlier = this.#last
    timer.later = null
    if (this.#last === null) this.#first = timer
    else this.#last.later = timer
    this.#last = timer
    if (this.size++ > 0) return
    if (this.#alarm === null) this.#arm(this.delayMs)
    else this.#alarm.hold()
  }

  remove(timer: Timer): void {
    if (timer.earlier === null) this.#first = timer.later
    else timer.earlier.later = timer.later
    if (timer.later === null) this.#last = timer.earlier
    else timer.later.earlier = timer.earlier
    timer.list = timer.earlier = timer.later = null
    if (--this.size === 0 && this.#alarm !== null) this.#alarm.release()
  }

  #arm(delayMs: number): void {
    this.#alarm = this.#source.ring(this.#onAlarm, Math.min(delayMs, alarmMsMax))
  }

  /** The alarm may ring for a timer that was cancelled since, so it looks at the first one that is there now. */
  readonly #onAlarm = (): void => {
    this.#alarm = null
    const nowMs = this.#source.nowMs()
    const due: Array<Timer> = []
    for (
      let timer = this.#first;
      timer !== null && timer.deadlineMs <= nowMs + this.#source.earlyMs;
      timer = timer.later
    ) {
      due.push(timer)
    }
    for (const timer of due) {
      if (timer.list !== this) continue // an earlier one of this round has cancelled it
      this.remove(timer)
      timer.onDue()
    }
    if (this.#alarm !== null) return // set again by one of them
    const first = this.#first as Timer | null
    if (first === null) this.#lists.delete(this.delayMs)
    else this.#arm(Math.max(first.deadlineMs - this.#source.nowMs(), 1))
  }
}

interface AlarmSource {
  nowMs(): number
  /** How much too early its alarms may ring, in milliseconds. */
  readonly earlyMs: number
  ring(task: () => void, delayMs: number): Alarm
}

/** An alarm that nothing waits for must not keep the process of the operating system alive. */
interface Alarm {
  hold(): void
  release(): void
}

const alarmMsMax = 2 ** 31 - 1 // ms; more makes Node's timers fire at once

/** Monotonic, so that setting the machine's clock neither fires nor delays a time-out. */
const liveSource: AlarmSource = {
  nowMs: () => performance.now(),
  earlyMs: 1, // Node's timers count whole milliseconds
  ring: (task, delayMs) => {
    const handle = setTimeout(task, delayMs)
    return { hold: () => handle.ref(), release: () => handle.unref() }
  }
}

const sourceOf = (clock: Clock.Clock): AlarmSource => {
  if (clock === Context.get(DefaultServices.liveServices, Clock.Clock)) return liveSource
  const nowMs = () => clock.unsafeCurrentTimeMillis()
  if (isScheduling(clock)) {
    return {
      nowMs,
      earlyMs: 0,
      ring: (task, delayMs) => {
        clock.unsafeSchedule(task, delayMs)
        return unheld
      }
    }
  }
  return {
    nowMs,
    earlyMs: 0,
    ring: (task, delayMs) => {
      Effect.runFork(Effect.zipRight(clock.sleep(Duration.millis(delayMs)), Effect.sync(task)))
      return unheld
    }
  }
}

const isScheduling = (clock: Clock.Clock): clock is SchedulingClock => "unsafeSchedule" in clock

const unheld: Alarm = { hold: () => {}, release: () => {} }

const byClock = new WeakMap<Clock.Clock, Timers>()
let lastClock: Clock.Clock | undefined
let lastTimers: Timers | undefined
