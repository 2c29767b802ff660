/**
 * The process behind a pid: a fiber, a mailbox, and what Erlang keeps in a process' header: links, monitors, names, how
 * it ended.
 *
 * Everything between processes is synchronous and happens in the turn of its cause: a send is an append, an
 * exit is one call of `finish`, which clears the names, fails the callers, and only then tells links and monitors. So
 * nobody can be told of a death and still find the dead under its name. Fibers carry the user's code and nothing else.
 *
 * Invariants
 * - `finish` runs once. Before it `exitReason` is null and the process is in `live`; after it neither.
 * - A link is in both processes' sets or in neither; a monitor is in its watcher's and its target's, or in neither.
 * - A killed process has finished when `kill` returns, whatever its fiber still does in a region that cannot be
 *   interrupted. Such fibers are counted (`zombies`) until they end: JavaScript offers nothing to end them.
 *
 * [1] OTP, erts/emulator/beam/erl_process.c, erts_do_exit_process; Erlang Reference Manual, Processes.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as FiberStatus from "effect/FiberStatus"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as ExitReason from "../ExitReason.ts"
import * as Mailbox from "../Mailbox.ts"
import { type Pid, Ref, TypeId } from "../Pid.ts"
import { counters } from "./counters.ts"
import * as Envelope from "./envelope.ts"
import { report, warn } from "./report.ts"
import { ProcessScope } from "./scope.ts"
import { runOutside, Self } from "./self.ts"
import * as Timers from "./timers.ts"

export type Status = "starting" | "running" | "suspended" | "stopping" | "exited"

/** A linked process ended; sent to those that trap exits. `pid` is null when the signal came from no process. */
export interface ExitSignal {
  readonly _tag: "Exit"
  readonly pid: Pid | null
  readonly reason: ExitReason.ExitReason
}

/** A monitored process ended. */
export interface Down {
  readonly _tag: "Down"
  readonly ref: Ref
  readonly pid: Pid
  readonly reason: ExitReason.ExitReason
}

/** Why an exit signal comes. */
export type ExitOrigin =
  /** A linked process has ended. */
  | "end"
  /** Somebody said `Process.exit`. */
  | "said"
  /** Its supervisor, or the scope that holds it, wants it to end. */
  | "wish"

export interface SpawnOptions {
  readonly label: string
  readonly mailbox?: Mailbox.Options | undefined
  readonly trapExit?: boolean | undefined
  /** The process to whose exit it listens even when it traps exits; null when a scope has that part. */
  readonly parent: ProcessImpl | null
  readonly isSupervisor?: boolean | undefined
  readonly inspect?: (() => Record<string, unknown>) | undefined
  readonly memoryBytes?: (() => number) | undefined
}

/** What a behaviour (GenServer) adds to the plain process. */
export interface Behaviour {
  inspect(): Record<string, unknown> | undefined
  memoryBytes(): number | undefined
  /** What a crash report says beside the reason: names and shapes, never content. */
  describe(): Record<string, unknown>
  /** Fails the callers whose requests it has taken and not answered. */
  onExit(reason: ExitReason.ExitReason): void
}

/** A supervised child, as the tree shows it. */
export interface ChildRow {
  readonly id: string
  readonly pid: ProcessImpl | null
  readonly type: "worker" | "supervisor"
  readonly restarts: number
  readonly lastExit: ExitReason.ExitReason | null
  readonly isRestarting: boolean
}

export class Monitor {
  readonly ref = new Ref()
  readonly watcher: ProcessImpl
  readonly target: ProcessImpl

  constructor(watcher: ProcessImpl, target: ProcessImpl) {
    this.watcher = watcher
    this.target = target
  }
}

/** Somebody who keeps entries for processes, and drops them when they end. */
export interface NameTable {
  forget(pid: ProcessImpl): void
}

export class ProcessImpl implements Pid<unknown> {
  readonly [TypeId]: (message: unknown) => void = ignore
  readonly id = nextId++
  readonly label: string
  readonly mailbox: Mailbox.Mailbox<Envelope.Envelope>
  readonly parent: ProcessImpl | null
  readonly isSupervisor: boolean
  status: Status = "starting"
  exitReason: ExitReason.ExitReason | null = null
  trapExit: boolean
  /** Messages and signals that its code has taken. */
  handled = 0
  /** Why it is being ended, from the signal to the end of its fiber. */
  pendingExit: ExitReason.ExitReason | null = null
  behaviour: Behaviour | null = null
  children: (() => ReadonlyArray<ChildRow>) | null = null
  /** Closed when its fiber has ended. */
  readonly scope = new ProcessScope()
  links: Set<ProcessImpl> | null = null
  monitors: Set<Monitor> | null = null
  watchers: Set<Monitor> | null = null
  observers: Set<(reason: ExitReason.ExitReason) => void> | null = null
  tables: Set<NameTable> | null = null
  fiber: Fiber.RuntimeFiber<unknown, unknown> | null = null
  #inspect: (() => Record<string, unknown>) | undefined
  #memoryBytes: (() => number) | undefined
  /** Its fiber has ended and its scope is being closed. */
  #isClosing = false
  #wake: ((effect: Effect.Effect<void>) => void) | null = null

  /** Suspends its fiber until something is put into the mailbox (or `wake` is called). One object for all the waits. */
  readonly idle: Effect.Effect<void> = Effect.async<void>((resume) => {
    this.#wake = resume
  })

  constructor(options: SpawnOptions) {
    this.label = options.label
    this.mailbox = new Mailbox.Mailbox(options.mailbox)
    this.parent = options.parent
    this.trapExit = options.trapExit ?? false
    this.isSupervisor = options.isSupervisor ?? false
    this.#inspect = options.inspect
    this.#memoryBytes = options.memoryBytes
    live.add(this)
    counters.spawned++
  }

  toString(): string {
    return this.label === "" ? `<0.${this.id}>` : `<0.${this.id} ${this.label}>`
  }

  /** In logs and errors a pid is its name: whatever state hangs on it is nobody's business there. */
  toJSON(): string {
    return this.toString()
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString()
  }

  get isAlive(): boolean {
    return this.exitReason === null
  }

  /** True while its fiber waits for a message. */
  get isIdle(): boolean {
    return this.#wake !== null
  }

  inspect(): Record<string, unknown> | undefined {
    return this.#inspect === undefined ? this.behaviour?.inspect() : this.#inspect()
  }

  memoryBytes(): number | undefined {
    return this.#memoryBytes === undefined ? this.behaviour?.memoryBytes() : this.#memoryBytes()
  }

  wake(): void {
    const wake = this.#wake
    if (wake === null) return
    this.#wake = null
    wake(Effect.void)
  }

  /** Puts a message in, if there is room and life. */
  offer(envelope: Envelope.Envelope): boolean {
    if (this.exitReason !== null || !this.mailbox.offer(envelope)) return false
    this.wake()
    return true
  }

  /** Puts a message in for a sender that cannot wait. */
  offerNow(kind: Envelope.Kind, payload: unknown): boolean {
    if (this.offer(new Envelope.Letter(kind, payload, false))) return true
    if (this.exitReason === null) this.mailbox.reject()
    return false
  }

  /** Puts a signal in, whatever the mailbox holds. */
  signal(kind: Envelope.Kind, payload: unknown): void {
    this.signalEnvelope(new Envelope.Letter(kind, payload, true))
  }

  signalEnvelope(envelope: Envelope.Envelope): void {
    if (this.exitReason !== null) return
    this.mailbox.push(envelope)
    this.wake()
  }

  /** An exit signal arrives. `from` is null when it comes from no process. */
  receiveExit(reason: ExitReason.ExitReason, from: ProcessImpl | null, origin: ExitOrigin): void {
    if (this.exitReason !== null) return
    switch (this.#effectOf(reason, from, origin)) {
      case "message":
        this.signal(Envelope.info, { _tag: "Exit", pid: from, reason } satisfies ExitSignal)
        break
      case "endOfParent":
        this.#endOfParent(reason)
        break
      case "end":
        this.interrupt(reason)
        break
      case "shutdown":
        this.interrupt(ExitReason.shutdown)
        break
      case "nothing":
        break
    }
  }

  /**
   * What an exit signal does, by OTP's table (Erlang Reference Manual, Processes, Receiving Exit Signals):
   *
   * | reason                | to one that traps exits | to one that does not |
   * | --------------------- | ----------------------- | -------------------- |
   * | any but `normal`      | message                 | it ends              |
   * | `normal`, from itself | message                 | it ends              |
   * | `normal`, from others | message                 | nothing              |
   *
   * Of the parent's signals two are taken otherwise. A server that traps exits takes each for the parent's end, as
   * `gen_server` does. And the normal end of the parent shuts down one that does not trap exits: here we differ from
   * OTP, where it would live on without a parent. `Process.exit` with `killed` asks nobody: see `kill`.
   */
  #effectOf(
    reason: ExitReason.ExitReason,
    from: ProcessImpl | null,
    origin: ExitOrigin
  ): "message" | "endOfParent" | "end" | "shutdown" | "nothing" {
    const isOfParent = origin === "wish" || (from !== null && from === this.parent)
    if (this.trapExit) return this.behaviour !== null && isOfParent ? "endOfParent" : "message"
    if (reason._tag !== "normal" || from === this) return "end"
    return isOfParent && origin !== "said" ? "shutdown" : "nothing"
  }

  /** A server reads that in its turn. A supervisor no longer waits for a child's `init`, which may take for ever. */
  #endOfParent(reason: ExitReason.ExitReason): void {
    this.signal(Envelope.parentExit, reason)
    if (!this.isSupervisor) return
    this.pendingExit ??= reason // so that it starts no other, either
    for (const child of this.links ?? []) {
      if (child.parent === this && child.status === "starting") child.interrupt(ExitReason.shutdown)
    }
  }

  /** Ends it from without, its finalizers run first. */
  interrupt(reason: ExitReason.ExitReason): void {
    this.pendingExit ??= reason
    if (this.#isClosing) return
    this.fiber?.unsafeInterruptAsFork(FiberId.none)
  }

  /** Ends it now. */
  kill(): void {
    if (this.exitReason !== null) return
    const isFiberAlive = this.fiber !== null && this.fiber.unsafePoll() === null
    if (isFiberAlive || this.#isClosing) zombies.add(this)
    this.finish(ExitReason.killed)
    if (isFiberAlive) this.fiber?.unsafeInterruptAsFork(FiberId.none)
  }

  /**
   * If one of the two has ended, the other gets its exit signal at once. The one that has ended may be this one: its
   * fibers may still run.
   */
  link(other: ProcessImpl): void {
    if (other === this) return
    if (other.exitReason !== null) {
      this.receiveExit(other.exitReason, other, "end")
      return
    }
    if (this.exitReason !== null) {
      other.receiveExit(this.exitReason, this, "end")
      return
    }
    this.links ??= new Set()
    other.links ??= new Set()
    this.links.add(other)
    other.links.add(this)
  }

  unlink(other: ProcessImpl): void {
    this.links?.delete(other)
    other.links?.delete(this)
  }

  monitor(target: ProcessImpl): Monitor {
    const monitor = new Monitor(this, target)
    if (target.exitReason !== null) {
      this.#down(monitor, target.exitReason)
      return monitor
    }
    if (this.exitReason !== null) return monitor // nobody is there to be told
    this.monitors ??= new Set()
    target.watchers ??= new Set()
    this.monitors.add(monitor)
    target.watchers.add(monitor)
    return monitor
  }

  demonitor(monitor: Monitor): boolean {
    monitor.target.watchers?.delete(monitor)
    return this.monitors?.delete(monitor) ?? false
  }

  /** Calls `observer` once, when it ends (at once if it has). The returned function takes that back. */
  onExit(observer: (reason: ExitReason.ExitReason) => void): () => void {
    if (this.exitReason !== null) {
      observer(this.exitReason)
      return ignore
    }
    this.observers ??= new Set()
    const { observers } = this
    observers.add(observer)
    return () => {
      observers.delete(observer)
    }
  }

  /** The end. `fiber` is, or was, its own: for the log. */
  finish(reason: ExitReason.ExitReason, fiber = this.fiber): void {
    if (this.exitReason !== null) return
    this.exitReason = reason
    this.status = "exited"
    live.delete(this)
    count(reason)
    if (this.tables !== null) for (const table of this.tables) table.forget(this)
    this.behaviour?.onExit(reason)
    const { links, monitors, observers, watchers } = this
    this.links = this.monitors = this.observers = this.tables = this.watchers = null
    this.behaviour = this.children = null // keeping the pid must not keep the state
    this.#inspect = this.#memoryBytes = undefined
    for (const envelope of this.mailbox.drain()) envelope.onReceiverExit(reason)
    if (monitors !== null) for (const monitor of monitors) monitor.target.watchers?.delete(monitor)
    if (links !== null) {
      for (const other of links) {
        other.links?.delete(this)
        other.receiveExit(reason, this, "end")
      }
    }
    if (watchers !== null) {
      for (const monitor of watchers) {
        monitor.watcher.monitors?.delete(monitor)
        monitor.watcher.#down(monitor, reason)
      }
    }
    if (observers === null) return
    for (const observer of observers) {
      try {
        observer(reason)
      } catch (thrown) {
        warn(this, fiber, "exit observer threw", thrown) // the others wait to be told, and the end is no place to fail
      }
    }
  }

  /** Its fiber has ended: closes its scope, reports a crash, and finishes. */
  onFiberExit(fiber: Fiber.RuntimeFiber<unknown, unknown>, exit: Exit.Exit<unknown, unknown>): void {
    this.fiber = null
    const wasKilled = this.exitReason !== null
    const reason = this.exitReason ?? this.#reasonOf(exit)
    this.#wake = null
    if (reason._tag === "crash") report(this, reason, fiber.getFiberRefs())
    if (this.scope.closeIfEmpty()) {
      zombies.delete(this)
      this.finish(reason, fiber)
      return
    }
    if (!wasKilled) this.status = "stopping"
    this.#isClosing = true
    const close = Scope.close(this.scope, scopeExit(reason, exit))
    runOutside(this, fiber.getFiberRefs(), close).addObserver((closed) => {
      zombies.delete(this)
      const last = Exit.isSuccess(closed) || reason._tag === "crash" ? reason : ExitReason.fromExit(closed)
      if (last._tag === "crash" && last !== reason) report(this, last, fiber.getFiberRefs())
      this.finish(last, fiber)
    })
  }

  #reasonOf(exit: Exit.Exit<unknown, unknown>): ExitReason.ExitReason {
    if (this.pendingExit !== null) return this.pendingExit
    return ExitReason.fromExit(exit)
  }

  #down(monitor: Monitor, reason: ExitReason.ExitReason): void {
    const down: Down = { _tag: "Down", ref: monitor.ref, pid: monitor.target, reason }
    this.signal(Envelope.info, down)
  }
}

/**
 * Forks the process' fiber. It is no child of the forking fiber and starts in a later turn.
 *
 * It inherits services and fiber refs, but not the span, whose end it would outlive, nor a region in which it could not
 * be interrupted.
 */
export const launch = (
  process: ProcessImpl,
  program: Effect.Effect<unknown, unknown, never>,
  parent: Fiber.RuntimeFiber<unknown, unknown>,
  status: FiberStatus.Running
): void => {
  const services = new Map(parent.currentContext.unsafeMap)
  services.set(Self.key, process)
  services.delete(Tracer.ParentSpan.key)
  services.set(Scope.Scope.key, process.scope)
  const runtime = Runtime.make({
    context: Context.unsafeMake(services) as Context.Context<never>,
    fiberRefs: parent.getFiberRefs(),
    runtimeFlags: RuntimeFlags.enable(
      RuntimeFlags.disable(status.runtimeFlags, RuntimeFlags.WindDown),
      RuntimeFlags.Interruption
    )
  })
  const fiber = Runtime.runFork(runtime, program, later)
  process.fiber = fiber
  fiber.addObserver((exit) => process.onFiberExit(fiber, exit))
}

const later: Runtime.RunForkOptions = { immediate: false }

/**
 * What the scope is closed with: as Effect would, so that a finalizer that commits on success does not when the work
 * was cut off.
 */
const scopeExit = (reason: ExitReason.ExitReason, exit: Exit.Exit<unknown, unknown>): Exit.Exit<unknown, unknown> => {
  if (reason._tag === "crash") return Exit.failCause(reason.cause)
  if (reason._tag === "killed" || Exit.isFailure(exit)) return Exit.interrupt(FiberId.none)
  return Exit.void
}

const count = (reason: ExitReason.ExitReason): void => {
  if (reason._tag === "killed") counters.killed++
  else if (reason._tag !== "crash") counters.ended++
  else if (Cause.isFailure(reason.cause)) counters.failed++
  else counters.died++
}

export const live = new Set<ProcessImpl>()
/** Finished, but their fibers still run what cannot be interrupted. */
export const zombies = new Set<ProcessImpl>()

let nextId = 1

const ignore = (): void => {}

/**
 * Waits for the end of `process`, at most `timeoutMs`; false when the time is up first.
 */
export const awaitExit = (process: ProcessImpl, timeoutMs: number): Effect.Effect<boolean> =>
  Effect.withFiberRuntime((fiber) => {
    if (!process.isAlive) return Effect.succeed(true)
    const timers = Timers.ofServices(fiber.currentDefaultServices)
    return Effect.async((resume) => {
      const wait = new ExitWait(process, resume)
      if (timeoutMs !== Number.POSITIVE_INFINITY) timers.set(wait, timeoutMs)
      return Effect.sync(() => wait.stop())
    })
  })

class ExitWait extends Timers.Timer {
  readonly #resume: (effect: Effect.Effect<boolean>) => void
  readonly #forget: () => void

  constructor(process: ProcessImpl, resume: (effect: Effect.Effect<boolean>) => void) {
    super()
    this.#resume = resume
    this.#forget = process.onExit(() => {
      Timers.cancel(this)
      resume(Effect.succeed(true))
    })
  }

  stop(): void {
    Timers.cancel(this)
    this.#forget()
  }

  override onDue(): void {
    this.#forget()
    this.#resume(Effect.succeed(false))
  }
}
