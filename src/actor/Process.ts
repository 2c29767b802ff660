/**
 * The process: a fiber with a mailbox, an address, and an end that others can learn of.
 *
 * Use a GenServer for anything that answers; a plain process is for a piece of work, or a protocol of its own. What
 * only makes sense inside of a process has `Process.Self` in its `R`. The doors named `unsafe…` are synchronous and for
 * code that runs no Effect; they are as safe as the others.
 *
 * [1] Erlang Reference Manual, Processes; Elixir's `Process` module.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as ExitReason from "./ExitReason.ts"
import { counters } from "./internal/counters.ts"
import * as Envelope from "./internal/envelope.ts"
import * as internal from "./internal/process.ts"
import { type Self, selfOf } from "./internal/self.ts"
import { type Shutdown, shutdownMsOf } from "./internal/supervision.ts"
import * as Timers from "./internal/timers.ts"
import type * as Mailbox from "./Mailbox.ts"
import type { Pid, Ref } from "./Pid.ts"

/** The process that the code runs in, as a requirement. */
export { Self } from "./internal/self.ts"

export type Status = internal.Status
export type ExitSignal = internal.ExitSignal
export type Down = internal.Down

/** What a process may get beside the messages that others send to it. */
export type Signal = ExitSignal | Down

export interface SpawnOptions {
  /** What people call it. */
  readonly label?: string
  readonly mailbox?: Mailbox.Options
  /** Exit signals come as messages instead of ending it. */
  readonly trapExit?: boolean
  /** How the scope of its spawn stops it, like a child of a supervisor. Default 5 seconds, then it is killed. */
  readonly shutdown?: Shutdown
  /** Shown in the supervision tree; called when somebody looks, so it must be quick. */
  readonly inspect?: () => Record<string, unknown>
  /** How many bytes it holds, as far as it knows: shown beside it in the tree. */
  readonly memoryBytes?: () => number
}

export type { Shutdown } from "./internal/supervision.ts"

/** What a program needs from outside: its process brings `Self`, and a `Scope` that is closed at its end. */
type Needs<R> = Exclude<R, Self | Scope.Scope>

/**
 * Starts a process that runs `program` and ends with it: `normal`, or a crash with its cause.
 *
 * Closing the scope asks it to shut down and waits for that, by `shutdown`. Linked to nobody.
 *
 * @example
 * const pid = yield* Process.spawn(Effect.flatMap(Process.receive, Effect.log), { label: "echo" })
 * yield* Process.send(pid, "hello")
 */
export const spawn = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<Pid<unknown>, never, Needs<R> | Scope.Scope> =>
  inScope(spawnDaemon(program, options), options?.shutdown)

/**
 * Starts a process linked to this one, its parent: if either crashes, so does the other, and when the parent ends, so
 * does the child.
 *
 * The order is that of Erlang's `spawn_link`: there is no moment at which it runs and is not linked.
 */
export const spawnLink = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<Pid<unknown>, never, Needs<R> | Self> =>
  Effect.withFiberRuntime((fiber, status) => {
    const parent = selfOrDie(fiber, "Process.spawnLink")
    const process = unsafeSpawn(program, options, parent, fiber, status)
    parent.link(process)
    return Effect.succeed(process)
  })

/**
 * Starts a process that lives until its program ends, whatever becomes of its starter: for tests, and for the root
 * of a program.
 */
export const spawnDaemon = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  options?: SpawnOptions
): Effect.Effect<Pid<unknown>, never, Needs<R>> =>
  Effect.withFiberRuntime((fiber, status) => Effect.succeed(unsafeSpawn(program, options, null, fiber, status)))

/** The pid of the process that this runs in. */
export const self: Effect.Effect<Pid<unknown>, never, Self> = Effect.withFiberRuntime((fiber) =>
  Effect.succeed(selfOrDie(fiber, "Process.self"))
)

/**
 * Puts a message into a mailbox; waits while that is full and says `backpressure`.
 *
 * True when it got in. False when the process is dead or the mailbox rejects it. Order is kept between two processes. A
 * process that sends to its own full mailbox would wait for itself, so that answers false.
 */
export const send = <M>(pid: Pid<M>, message: M): Effect.Effect<boolean> => deliver(pid, Envelope.info, message)

/** `send` for synchronous code: never waits, so false also when there is no room. */
export const unsafeOffer = <M>(pid: Pid<M>, message: M): boolean => impl(pid).offerNow(Envelope.info, message)

/**
 * The next message or signal, waiting for it. First in, first out; there is no selective receive (Mailbox says why).
 *
 * One fiber of a process at a time.
 */
export const receive: Effect.Effect<unknown, never, Self> = Effect.withFiberRuntime((fiber) => {
  const process = selfOrDie(fiber, "Process.receive")
  for (let letter = process.mailbox.take(); letter !== null; letter = process.mailbox.take()) {
    process.handled++
    if (letter instanceof Envelope.CallEnvelope) letter.onReceiverExit(notAServer)
    else return Effect.succeed(letter.payload)
  }
  return Effect.flatMap(process.idle, () => receive)
})

/**
 * Sends an exit signal. `killed` ends the process before this returns, and cannot be trapped. Any other reason
 * interrupts it (its finalizers run) or, if it traps exits, comes to it as an `ExitSignal`. `normal` does nothing to
 * others that do not trap exits.
 */
export const exit = (pid: Pid, reason: ExitReason.ExitReason): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    signalExit(impl(pid), reason, selfOf(fiber))
    return Effect.void
  })

/** `exit` for synchronous code. The signal comes from no process. */
export const unsafeExit = (pid: Pid, reason: ExitReason.ExitReason): void => signalExit(impl(pid), reason, null)

/**
 * Asks to be told when `pid` ends, by a `Down` message with the returned reference. One-way, and any number of times.
 *
 * A process that has ended already sends `Down` at once, with the reason it ended for (Erlang: `noproc`).
 */
export const monitor = (pid: Pid): Effect.Effect<Ref, never, Self> =>
  Effect.withFiberRuntime((fiber) => {
    const made = selfOrDie(fiber, "Process.monitor").monitor(impl(pid))
    monitorsByRef.set(made.ref, made)
    return Effect.succeed(made.ref)
  })

/** Takes a monitor back. False when its `Down` has been sent, and may wait in the mailbox. */
export const demonitor = (ref: Ref): Effect.Effect<boolean, never, Self> =>
  Effect.withFiberRuntime((fiber) => {
    const made = monitorsByRef.get(ref)
    return Effect.succeed(made !== undefined && selfOrDie(fiber, "Process.demonitor").demonitor(made))
  })

/**
 * Ties this process and `pid` together: when one ends, the other gets an exit signal with the same reason.
 *
 * Once, however often it is said. Linking to a process that has ended gives its exit signal at once.
 */
export const link = (pid: Pid): Effect.Effect<void, never, Self> =>
  Effect.withFiberRuntime((fiber) => {
    selfOrDie(fiber, "Process.link").link(impl(pid))
    return Effect.void
  })

export const unlink = (pid: Pid): Effect.Effect<void, never, Self> =>
  Effect.withFiberRuntime((fiber) => {
    selfOrDie(fiber, "Process.unlink").unlink(impl(pid))
    return Effect.void
  })

/** Says whether exit signals come as messages. The answer is what was said before. */
export const trapExit = (isTrapping: boolean): Effect.Effect<boolean, never, Self> =>
  Effect.withFiberRuntime((fiber) => {
    const process = selfOrDie(fiber, "Process.trapExit")
    const before = process.trapExit
    process.trapExit = isTrapping
    return Effect.succeed(before)
  })

export const isAlive = (pid: Pid): boolean => impl(pid).isAlive

/** How it ended, or null while it lives. */
export const exitReason = (pid: Pid): ExitReason.ExitReason | null => impl(pid).exitReason

/** Waits for its end; also from outside of any process. */
export const awaitExit = (pid: Pid): Effect.Effect<ExitReason.ExitReason> =>
  Effect.map(
    internal.awaitExit(impl(pid), Number.POSITIVE_INFINITY),
    () => impl(pid).exitReason as ExitReason.ExitReason
  )

/**
 * Calls `observer` when `pid` ends (at once if it has); the returned function takes that back. The monitor of
 * synchronous code: it runs in the turn in which the process ends, after names are cleared and before anybody else
 * runs. If it throws, the log says so.
 */
export const onExit = (pid: Pid, observer: (reason: ExitReason.ExitReason) => void): (() => void) =>
  impl(pid).onExit(observer)

/**
 * Goes on after a turn of the event loop, in which sockets and timers have been served. For long work in pieces: a
 * fiber that merely yields goes on before them.
 */
export const nextTurn: Effect.Effect<void> = Effect.async((resume) => {
  const turn = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(turn))
})

/** A timer that has been set by `sendAfter`. */
export interface TimerRef {
  /** Takes it back; false when the message has been sent, or the process has ended. */
  readonly cancel: () => boolean
}

/** Sends `message` in `delay`, unless its mailbox is full then. The timer ends with the process, as Erlang's does. */
export const sendAfter = <M>(pid: Pid<M>, message: M, delay: Duration.DurationInput): Effect.Effect<TimerRef> =>
  Effect.withFiberRuntime((fiber) => {
    const timer = new LetterTimer(impl(pid), message)
    timer.set(Timers.ofServices(fiber.currentDefaultServices), Timers.millis(delay))
    return Effect.succeed(timer)
  })

/** `sendAfter` for synchronous code, by the clock of the process that will get the message. */
export const unsafeSendAfter = <M>(pid: Pid<M>, message: M, delay: Duration.DurationInput): TimerRef => {
  const process = impl(pid)
  const timer = new LetterTimer(process, message)
  if (process.fiber !== null) timer.set(Timers.ofServices(process.fiber.currentDefaultServices), Timers.millis(delay))
  return timer
}

export interface Info {
  readonly pid: string
  readonly label: string
  readonly status: Status
  readonly mailbox: Mailbox.Counters
  readonly messagesHandled: number
  readonly links: number
  readonly monitors: number
  readonly monitoredBy: number
  readonly trapsExit: boolean
}

/** What can be said of a process, as plain data. */
export const info = (pid: Pid): Info => {
  const process = impl(pid)
  return {
    pid: process.toString(),
    label: process.label,
    status: process.status,
    mailbox: process.mailbox.counters(),
    messagesHandled: process.handled,
    links: process.links?.size ?? 0,
    monitors: process.monitors?.size ?? 0,
    monitoredBy: process.watchers?.size ?? 0,
    trapsExit: process.trapExit
  }
}

/**
 * The process that a fiber works for: its own, and any that its code forked, also those that close its scope or log its
 * crash after its own fiber has ended. Null for fibers outside of any process.
 *
 * For walking the fibers of a program, e.g. to show that none is outside of its tree: `Fiber.roots`, and the children
 * of each.
 */
export const ofFiber = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Pid | null => selfOf(fiber)

/** All that are alive in this JavaScript realm, oldest first. */
export const list = (): ReadonlyArray<Pid> => [...internal.live]

/** All but `alive` and `zombies` count since the realm began. */
export interface Totals {
  readonly alive: number
  /** Killed, but in a region that cannot be interrupted. Should be 0 soon after any kill. */
  readonly zombies: number
  readonly spawned: number
  /** By `normal` or `shutdown`. */
  readonly ended: number
  readonly killed: number
  /** `failed` and `died`. */
  readonly crashed: number
  /** Crashes whose cause is a failure: a typed error that nobody handled. */
  readonly failed: number
  /** Crashes whose cause is a defect: something was thrown. */
  readonly died: number
  /** Children started again by their supervisors, each try counted. */
  readonly restarts: number
  /** Supervisors that gave up because of too many restarts. */
  readonly escalations: number
  readonly callTimeouts: number
  /** Pushed out of mailboxes by newer messages (`dropOldest`). */
  readonly messagesDropped: number
  /** Turned away from full mailboxes. */
  readonly messagesRejected: number
}

export const totals = (): Totals => ({
  ...counters,
  alive: internal.live.size,
  zombies: internal.zombies.size,
  crashed: counters.failed + counters.died
})

// The rest is for this folder's behaviours.

/** @internal */
export const impl = (pid: Pid): internal.ProcessImpl => pid as internal.ProcessImpl

/** @internal Ties a process that nobody is linked to, to the scope that asks for it. */
export const inScope = <E, R>(
  start: Effect.Effect<Pid<unknown>, E, R>,
  shutdown: Shutdown | undefined
): Effect.Effect<Pid<unknown>, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.scope, (scope) =>
      Effect.flatMap(restore(start), (pid) => Effect.as(holdInScope(impl(pid), scope, shutdown), pid))
    )
  )

/** @internal A scope of its own below `scope`, so that `scope` forgets the process when that has ended. */
export const holdInScope = (
  process: internal.ProcessImpl,
  scope: Scope.Scope,
  shutdown: Shutdown | undefined
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const own = yield* Scope.fork(scope, scope.strategy)
    yield* Scope.addFinalizer(
      own,
      Effect.suspend(() => {
        if (!process.isAlive) return Effect.void
        const timeoutMs = shutdownMsOf(shutdown, process.isSupervisor ? "supervisor" : "worker")
        if (timeoutMs < 0) process.kill()
        else process.receiveExit(ExitReason.shutdown, null, "wish")
        return Effect.map(internal.awaitExit(process, timeoutMs), (isEnded) => {
          if (!isEnded) process.kill()
        })
      })
    )
    process.onExit(() => Effect.runSync(Scope.close(own, Exit.void)))
  })

/** @internal */
export const deliver = (pid: Pid, kind: Envelope.Kind, message: unknown): Effect.Effect<boolean> =>
  Effect.withFiberRuntime((fiber) => {
    const process = impl(pid)
    const span = kind === Envelope.cast ? fiber.currentSpan : undefined
    const letter = new Envelope.Letter(kind, message, false, span)
    if (process.offer(letter)) return yes
    if (!process.isAlive) return no
    if (process.mailbox.overflow !== "backpressure" || selfOf(fiber) === process) {
      process.mailbox.reject()
      return no
    }
    return Effect.async((resume) => {
      letter.onSettled = (isTaken) => resume(isTaken ? yes : no)
      process.mailbox.park(letter)
      return Effect.sync(() => letter.abandon())
    })
  })

const yes = Effect.succeed(true)
const no = Effect.succeed(false)

const unsafeSpawn = (
  program: Effect.Effect<unknown, unknown, unknown>,
  options: SpawnOptions | undefined,
  parent: internal.ProcessImpl | null,
  fiber: Parameters<typeof internal.launch>[2],
  status: Parameters<typeof internal.launch>[3]
): internal.ProcessImpl => {
  const process = new internal.ProcessImpl({
    label: options?.label ?? "",
    mailbox: options?.mailbox,
    trapExit: options?.trapExit,
    inspect: options?.inspect,
    memoryBytes: options?.memoryBytes,
    parent
  })
  process.status = "running"
  internal.launch(process, program as Effect.Effect<unknown, unknown>, fiber, status)
  return process
}

/** @internal */
export const selfOrDie = (fiber: Parameters<typeof selfOf>[0], what: string): internal.ProcessImpl => {
  const process = selfOf(fiber)
  if (process === null) throw new Error(`${what} was run outside of a process, where there is no Process.Self`)
  return process
}

const signalExit = (
  process: internal.ProcessImpl,
  reason: ExitReason.ExitReason,
  from: internal.ProcessImpl | null
): void => {
  if (reason._tag === "killed") process.kill()
  else process.receiveExit(reason, from, "said")
}

class LetterTimer extends Timers.Timer implements TimerRef {
  readonly #process: internal.ProcessImpl
  readonly #message: unknown
  #forget: (() => void) | null = null

  constructor(process: internal.ProcessImpl, message: unknown) {
    super()
    this.#process = process
    this.#message = message
  }

  /** The process takes it back when it ends: a timer of an hour would keep its message and Node alive for that hour. */
  set(timers: Timers.Timers, delayMs: number): void {
    if (!this.#process.isAlive) return
    this.#forget = this.#process.onExit(() => Timers.cancel(this))
    timers.set(this, delayMs)
  }

  override onDue(): void {
    this.#forget?.()
    this.#process.offerNow(Envelope.info, this.#message)
  }

  cancel = (): boolean => {
    const isSet = this.list !== null
    this.#forget?.()
    Timers.cancel(this)
    return isSet
  }
}

const monitorsByRef = new WeakMap<Ref, internal.Monitor>()
const notAServer = ExitReason.shutdownWith("a plain process does not answer calls")
