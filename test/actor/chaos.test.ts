/**
 * Random trees of 200 processes under random crashes, kills, slow ends, calls and starts that are given up, in
 * simulated worlds.
 *
 * Checked after every step: nobody outlives its supervisor unless it is ending, every fiber works for a process that
 * lives or is being killed, no name leads to the dead and nobody has lost its own, nobody waits for the dead or for
 * room that is there, who monitors is told once, every child that must be up is up unless its supervisor is busy with
 * it. Checked at the end: children stopped in reverse order and before their supervisors, every caller was answered or
 * got a typed error, and no process, name, fiber or timer is left.
 *
 * `MIMOSA_SCHEDULES` says how many worlds (1,000), `MIMOSA_SEED` which is the first. A failure names its seed: run it
 * again by `MIMOSA_SEED=<seed> MIMOSA_SCHEDULES=1`.
 */
import { Effect, Exit, type Fiber, FiberId, Logger, LogLevel, Request, Scope, Supervisor as Watch } from "effect"
import { describe, expect, it } from "vitest"
import {
  DynamicSupervisor,
  ExitReason,
  GenServer,
  type Pid,
  Process,
  Registry,
  Supervisor
} from "../../src/actor/index.ts"
import { live, zombies } from "../../src/actor/internal/process.ts"
import { Server } from "../../src/actor/internal/server.ts"
import type { Child } from "../../src/actor/internal/supervision.ts"
import { Simulation } from "../../src/testing/index.ts"

const schedules = Number(process.env.MIMOSA_SCHEDULES ?? 1_000)
const firstSeed = Number(process.env.MIMOSA_SEED ?? 1)
const processesMax = 200
const steps = 30
const batch = 100 // worlds a test; some seconds
Error.stackTraceLimit = 0 // thousands of errors a second are made here, and none of their stacks is looked at

describe("chaos", () => {
  const seen: Seen = { answers: 0, errors: new Map(), restarts: 0, escalations: 0, kills: 0 }
  console.log(`chaos: ${schedules} schedules from MIMOSA_SEED=${firstSeed}`)

  for (let from = firstSeed; from < firstSeed + schedules; from += batch) {
    const to = Math.min(from + batch, firstSeed + schedules) - 1
    it(`keeps its promises in the worlds ${from} to ${to}`, { timeout: batch * 10_000 }, async () => {
      for (let seed = from; seed <= to; seed++) {
        await new Promise(setImmediate) // lets the test runner report
        try {
          new World(seed, seen).play()
        } catch (error) {
          throw new Error(`replay with MIMOSA_SEED=${seed} MIMOSA_SCHEDULES=1: ${error}`, { cause: error })
        }
      }
    })
  }

  it.skipIf(schedules < batch)("was chaotic: what it is there to provoke did happen", () => {
    expect(seen.answers).toBeGreaterThan(schedules)
    expect([...seen.errors.keys()].sort()).toEqual(["CallTimeout", "MailboxFull", "NoProcess", "ProcessExited"])
    for (const count of [seen.restarts, seen.escalations, seen.kills]) expect(count).toBeGreaterThan(schedules / 10)
  })
})

class Echo extends Request.TaggedClass("Echo")<number, never, { readonly n: number }> {}
class Slow extends Request.TaggedClass("Slow")<number, never, { readonly ms: number }> {}
class Later extends Request.TaggedClass("Later")<number, never, { readonly ms: number }> {}
class Crash extends Request.TaggedClass("Crash")<never, never, object> {}
class Silent extends Request.TaggedClass("Silent")<never, never, object> {}

interface WorkerProtocol extends GenServer.Protocol {
  readonly call: Echo | Slow | Later | Crash | Silent
  readonly cast:
    | { readonly _tag: "crash" }
    | { readonly _tag: "work" | "stubborn"; readonly ms: number }
    | { readonly _tag: "stop" }
}
type WorkerRef = GenServer.RefOf<WorkerProtocol>

interface Temper {
  readonly trapExit: boolean
  readonly terminateMs: number
  readonly finalizerMs: number
  readonly initMs: number
  readonly flakiness: number
}

interface Seen {
  answers: number
  readonly errors: Map<string, number>
  restarts: number
  escalations: number
  kills: number
}

class World {
  readonly #simulation: Simulation.Simulation
  readonly #random: Simulation.Seeded
  readonly #seen: Seen
  readonly #names = Registry.unsafeMake({ keys: "unique" })
  readonly #before = Process.totals()
  readonly #oldest: number
  readonly #ids: Array<string> = []
  readonly #asked: Array<{
    readonly pid: Pid.Pid | null
    readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
    readonly byMs: number
  }> = []
  /** Children that were terminated on request: supervisor's pid and child's id. */
  readonly #terminated = new Set<string>()
  /** Permanent children of dynamic supervisors: child's id → its supervisor. */
  readonly #adopted = new Map<string, Pid.Pid>()
  /** A process that monitors others, and how many `Down`s it got of each. */
  readonly #watcher: ReturnType<typeof Process.impl>
  readonly #downs = new Map<Pid.Pid, number>()
  readonly #fibers = Effect.runSync(Watch.track)
  #grown = 0
  #isCalm = false

  constructor(seed: number, seen: Seen) {
    this.#simulation = Simulation.make({ seed })
    this.#random = this.#simulation.random
    this.#seen = seen
    const watching = Effect.forever(
      Effect.map(Process.receive, (down) => {
        const { pid } = down as Process.Down
        this.#downs.set(pid, (this.#downs.get(pid) ?? 0) + 1)
      })
    )
    const watcher = this.#fork(Process.spawnDaemon(watching)).unsafePoll() as Exit.Exit<Pid.Pid>
    this.#watcher = Process.impl(Exit.getOrElse(watcher, String) as Pid.Pid)
    const youngest = Process.impl(Effect.runSync(Process.spawnDaemon(Effect.void)))
    this.#oldest = youngest.id
    youngest.kill()
  }

  play(): void {
    const scope = Effect.runSync(Scope.make())
    const root = this.#start(scope)
    for (let step = 0; step < steps && root.isAlive; step++) {
      for (let acts = 1 + this.#random.int(4); acts > 0; acts--) this.#act()
      this.#simulation.drain()
      this.#check(`step ${step}`)
      this.#simulation.advance(this.#random.chance(0.2) ? 3000 : this.#random.int(200))
      this.#check(`after step ${step}`)
    }
    this.#isCalm = true
    this.#simulation.advance(20_000)
    this.#check("calm")
    this.#stop(scope)
    this.#checkEnd()
  }

  #start(scope: Scope.CloseableScope) {
    const children = this.#children(0, "")
    const started = Supervisor.start({ label: "root", children, maxRestarts: 1_000, maxSeconds: 1 })
    const fiber = this.#fork(Scope.extend(started, scope))
    this.#simulation.advance(10_000)
    const exit = fiber.unsafePoll()
    if (exit === null || Exit.isFailure(exit)) throw new Error(`the tree did not start: ${exit}`)
    return Process.impl(exit.value)
  }

  /** Random children: workers, supervisors, dynamic supervisors. */
  #children(depth: number, path: string): Array<Supervisor.ChildSpec<Process.Self>> {
    const random = this.#random
    const count = depth === 0 ? 12 : 2 + random.int(7)
    const children: Array<Supervisor.ChildSpec<Process.Self>> = []
    for (let i = 0; i < count && this.#grown < processesMax; i++) {
      this.#grown++
      const id = `${path}/${i}`
      const restart = random.pick(["permanent", "permanent", "transient", "temporary"] as const)
      if (depth < 4 && (depth === 0 || random.chance(0.4))) {
        if (random.chance(0.15)) {
          children.push(DynamicSupervisor.childSpec(id, { maxChildren: 5 }, { restart }))
          continue
        }
        const options = {
          strategy: random.pick(["one_for_one", "rest_for_one", "one_for_all"] as const),
          maxRestarts: random.int(6),
          maxSeconds: 1 + random.int(5),
          children: this.#children(depth + 1, id)
        }
        children.push(Supervisor.childSpec(id, options, { restart }))
      } else {
        children.push(this.#worker(id, restart))
      }
    }
    return children
  }

  #worker(id: string, restart: "permanent" | "transient" | "temporary"): Supervisor.ChildSpec<Process.Self> {
    const random = this.#random
    this.#ids.push(id)
    const temper: Temper = {
      trapExit: random.chance(0.5),
      terminateMs: random.chance(0.2) ? random.int(2000) : 0,
      finalizerMs: random.chance(0.2) ? random.int(1000) : 0,
      initMs: random.chance(0.2) ? random.int(100) : 0,
      flakiness: random.chance(0.1) ? 0.5 : 0
    }
    const shutdown = random.pick(["brutalKill", "infinity", 0, 10, 500, 5000] as const)
    const overflow = random.pick(["backpressure", "reject", "dropOldest"] as const)
    const mailbox = { capacity: 1 + random.int(4), overflow }
    const name = Registry.via(this.#names, id)
    return GenServer.childSpec(this.#define(temper), id, { id, restart, shutdown, mailbox, name })
  }

  #define({ finalizerMs, flakiness, initMs, terminateMs, trapExit }: Temper) {
    const random = this.#random
    return GenServer.define<WorkerProtocol>()({
      name: "worker",
      trapExit,
      init: (id: string) =>
        Effect.gen(this, function* () {
          if (initMs > 0) yield* Effect.sleep(initMs)
          if (this.#grownUp && !this.#isCalm && random.chance(flakiness))
            return GenServer.Stop(ExitReason.crashWith("flaky"))
          if (finalizerMs > 0) yield* Effect.addFinalizer(() => Effect.sleep(finalizerMs))
          return GenServer.Ok(id)
        }),
      handleCall: {
        Echo: ({ n }, state) => GenServer.Reply(n, state),
        Slow: ({ ms }, state) => Effect.as(Effect.sleep(ms), GenServer.Reply(ms, state)),
        Later: ({ ms }, state, from) =>
          Effect.as(Effect.forkScoped(Effect.delay(GenServer.reply(from, ms), ms)), GenServer.NoReply(state)),
        Crash: () => Effect.die("crash"),
        Silent: (_, state) => GenServer.NoReply(state)
      },
      handleCast: (message, state) => {
        switch (message._tag) {
          case "crash":
            throw new Error("crash")
          case "stop":
            return GenServer.Stop(ExitReason.normal, state)
          case "work":
            return Effect.as(Effect.sleep(message.ms), GenServer.NoReply(state))
          case "stubborn":
            return Effect.as(Effect.uninterruptible(Effect.sleep(message.ms)), GenServer.NoReply(state))
        }
      },
      ...(terminateMs > 0 ? { terminate: () => Effect.sleep(terminateMs) } : {})
    })
  }

  get #grownUp(): boolean {
    return this.#simulation.nowMs > 10_000 - 1
  }

  #act(): void {
    const random = this.#random
    const act = random.int(100)
    if (act < 38) this.#call(this.#somebody())
    else if (act < 40) this.#crowd()
    else if (act < 60) this.#cast()
    else if (act < 66) this.#kill()
    else if (act < 72) this.#end()
    else if (act < 84) this.#manage()
    else if (act < 87) this.#watch()
    else if (act < 89) this.#startAndGiveUp()
    else this.#fork(this.#growAndShrink())
  }

  /** More callers at once than any mailbox here holds. */
  #crowd(): void {
    const server = this.#somebody()
    for (let callers = 0; callers < 8; callers++) this.#call(server)
  }

  #call(server: GenServer.Destination<WorkerRef>): void {
    const random = this.#random
    const request = random.pick([
      new Echo({ n: random.int(100) }),
      new Echo({ n: random.int(100) }),
      new Slow({ ms: random.int(400) }),
      new Later({ ms: random.int(400) }),
      new Crash(),
      new Silent()
    ])
    const timeout = 1 + random.int(2000)
    const call = GenServer.call(server, request, { timeout })
    const counted = Effect.match(call, {
      onSuccess: () => this.#seen.answers++,
      onFailure: (error) => this.#seen.errors.set(error._tag, (this.#seen.errors.get(error._tag) ?? 0) + 1)
    })
    const pid = GenServer.whereis(server) // before it is asked: the fork below runs at once
    const fiber = this.#fork(counted)
    if (random.chance(0.1)) this.#interruptIn(random.int(timeout), fiber)
    this.#asked.push({ pid, fiber, byMs: this.#simulation.nowMs + timeout })
  }

  /** A tree beside the root's whose start is interrupted half-way, unless it is quick; then it is stopped. */
  #startAndGiveUp(): void {
    const label = `brief${this.#ids.length}`
    const children = [0, 1, 2].map((n) => this.#worker(`${label}/${n}`, "permanent"))
    const brief = this.#fork(Effect.scoped(Supervisor.start({ label, children })))
    this.#interruptIn(this.#random.int(150), brief)
  }

  #interruptIn(ms: number, fiber: Fiber.RuntimeFiber<unknown, unknown>): void {
    this.#simulation.clock.unsafeSchedule(() => fiber.unsafeInterruptAsFork(FiberId.none), ms)
  }

  #cast(): void {
    const random = this.#random
    const message: WorkerProtocol["cast"] = random.pick([
      { _tag: "crash" as const },
      { _tag: "crash" as const },
      { _tag: "stop" as const },
      { _tag: "work" as const, ms: random.int(500) },
      { _tag: "stubborn" as const, ms: random.int(1500) }
    ])
    const worker = this.#somebody()
    for (let times = 1 + random.int(3); times > 0; times--) {
      if (random.chance(0.5)) GenServer.unsafeOffer(worker, message)
      else this.#fork(GenServer.cast(worker, message))
    }
  }

  #kill(): void {
    const pid = this.#anybody()
    if (pid === null) return
    this.#seen.kills++
    Process.unsafeExit(pid, ExitReason.killed)
  }

  #watch(): void {
    const pid = this.#anybody()
    if (pid === null || this.#downs.has(pid)) return
    this.#downs.set(pid, 0)
    this.#watcher.monitor(Process.impl(pid))
  }

  #end(): void {
    const pid = this.#anybody()
    if (pid !== null) this.#fork(Process.exit(pid, ExitReason.shutdown))
  }

  /** Terminates, restarts, deletes a random child of a random supervisor. */
  #manage(): void {
    const supervisor = this.#pickSupervisor(false)
    if (supervisor === null) return
    const rows = supervisor.children?.() ?? []
    if (rows.length === 0) return
    const { id } = this.#random.pick(rows)
    const act = this.#random.int(3)
    if (act === 0) {
      this.#terminated.add(`${supervisor.id}:${id}`)
      this.#fork(Supervisor.terminateChild(supervisor, id))
    } else if (act === 1) {
      this.#fork(Supervisor.restartChild(supervisor, id))
    } else {
      this.#fork(Supervisor.deleteChild(supervisor, id))
    }
  }

  #growAndShrink(): Effect.Effect<unknown, unknown> {
    const crowd = this.#pickSupervisor(true)
    if (crowd === null) return Effect.void
    const rows = crowd.children?.() ?? []
    if (rows.length > 0 && this.#random.chance(0.4)) {
      const { id, pid } = this.#random.pick(rows)
      if (pid === null) return Effect.void
      this.#adopted.delete(id)
      return DynamicSupervisor.terminateChild(crowd, pid)
    }
    const restart = this.#random.pick(["permanent", "transient", "temporary"] as const)
    const id = `${crowd.label}/+${this.#ids.length}`
    return Effect.tap(DynamicSupervisor.startChild(crowd, this.#worker(id, restart)), () => {
      if (restart === "permanent") this.#adopted.set(id, crowd)
    })
  }

  #pickSupervisor(isDynamic: boolean) {
    const all = this.#mine().filter((process) => process.isSupervisor && process.label !== "root")
    const kind = all.filter((process) => isCrowd(process) === isDynamic)
    return kind.length === 0 ? null : this.#random.pick(kind)
  }

  #somebody(): GenServer.Destination<WorkerRef> {
    const id = this.#random.pick(this.#ids)
    const pid = Registry.unsafeWhereis(this.#names, id) as WorkerRef | null
    return pid === null || this.#random.chance(0.5) ? Registry.via<WorkerRef>(this.#names, id) : pid
  }

  /** The root only when it is alone; null when it has given up and all are gone. */
  #anybody(): Pid.Pid | null {
    const all = this.#mine()
    const others = all.filter((process) => process.label !== "root")
    return all.length === 0 ? null : this.#random.pick(others.length > 0 ? others : all)
  }

  #mine(): Array<ReturnType<typeof Process.impl>> {
    return [...live].filter((process) => process.id > this.#oldest)
  }

  #fork<A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> {
    const watched = Effect.supervised(effect, this.#fibers)
    return this.#simulation.fork(Logger.withMinimumLogLevel(watched, LogLevel.None))
  }

  #check(when: string): void {
    const fail = (what: string) => {
      throw new Error(`${when}, at ${this.#simulation.nowMs} ms: ${what}`)
    }
    for (const key of this.#names.table.allKeys()) {
      if (this.#names.table.first(key)?.pid.isAlive !== true) fail(`name ${key} leads to the dead`)
    }
    for (const [pid, downs] of this.#downs) {
      if (downs !== (Process.isAlive(pid) ? 0 : 1)) fail(`${downs} times Down came from ${pid}`)
    }
    for (const fiber of Effect.runSync(this.#fibers.value)) {
      const owner = Process.ofFiber(fiber)
      if (owner === null) fail(`fiber ${fiber.id().id} works for no process`)
      else if (!Process.isAlive(owner) && !zombies.has(Process.impl(owner))) fail(`a fiber still works for ${owner}`)
    }
    for (const process of this.#mine()) {
      if (!process.isSupervisor && Registry.unsafeWhereis(this.#names, process.label) !== process)
        fail(`${process} has lost its name`)
      const isEnding = process.pendingExit !== null || process.status === "stopping"
      const isQuiet = process.isIdle && process.mailbox.size === 0
      const { capacity, depth, waiting } = process.mailbox
      if (waiting > 0 && depth < capacity) fail(`${process} lets ${waiting} wait outside though there is room`)
      if (process.parent !== null && !process.parent.isAlive && !isEnding && isQuiet) fail(`${process} is an orphan`)
      if (isQuiet && !isEnding && process.status === "running" && process.children !== null)
        this.#checkFamily(process, fail)
    }
    for (const { byMs, fiber, pid } of this.#asked) {
      if (fiber.unsafePoll() !== null) continue
      if (byMs < this.#simulation.nowMs) fail("a caller waits beyond its time-out")
      if (pid === null || !Process.isAlive(pid)) fail(`a caller waits for ${pid}, which is dead`)
    }
  }

  /** A supervisor that has nothing to do has all its children as it should. */
  #checkFamily(supervisor: ReturnType<typeof Process.impl>, fail: (what: string) => void): void {
    const rows = (supervisor.children?.() ?? []) as ReadonlyArray<Child>
    for (const [id, parent] of this.#adopted) {
      if (parent === supervisor && !rows.some((row) => row.id === id)) fail(`${supervisor} has lost permanent ${id}`)
    }
    for (const row of rows) {
      if (row.pid !== null && !row.pid.isAlive) fail(`${supervisor} believes that ${row.id} is alive`)
      if (row.isRestarting) fail(`${supervisor} has forgotten to restart ${row.id}`)
      if (row.pid === null && row.restart === "permanent" && !this.#terminated.has(`${supervisor.id}:${row.id}`)) {
        fail(`permanent ${row.id} of ${supervisor} is down`)
      }
    }
  }

  #stop(scope: Scope.CloseableScope): void {
    const ended: Array<string> = []
    const order = new Map<Pid.Pid, number>()
    const families: Array<{
      readonly supervisor: Pid.Pid
      readonly children: ReadonlyArray<Pid.Pid>
      readonly isOrdered: boolean
    }> = []
    for (const process of this.#mine()) {
      process.onExit(() => order.set(process, ended.push(process.label)))
      const rows = process.children?.() ?? []
      for (const { lastExit, restarts } of rows) {
        this.#seen.restarts += restarts
        if (lastExit?._tag === "shutdown" && lastExit.detail !== undefined) this.#seen.escalations++
      }
      const children = rows.flatMap(({ pid }) => (pid === null ? [] : [pid]))
      families.push({ supervisor: process, children, isOrdered: !isCrowd(process) })
    }
    this.#fork(Scope.close(scope, Exit.void))
    this.#simulation.advance(600_000)
    for (const { children, isOrdered, supervisor } of families) {
      const ends = children.map((pid) => order.get(pid) ?? Number.NaN)
      const last = order.get(supervisor) ?? Number.NaN
      if (!ends.every((end) => end < last))
        throw new Error(`${supervisor} ended before its children: ${ends} and ${last}`)
      if (isOrdered && !ends.every((end, i) => i === 0 || end < (ends[i - 1] as number))) {
        throw new Error(`${supervisor} stopped its children in the order ${ends}`)
      }
    }
  }

  #checkEnd(): void {
    this.#watcher.kill()
    this.#simulation.drain()
    const { alive, zombies } = Process.totals()
    expect({ alive, zombies }).toEqual({ alive: this.#before.alive, zombies: this.#before.zombies })
    expect(this.#names.table.size).toBe(0)
    expect(this.#asked.filter(({ fiber }) => fiber.unsafePoll() === null)).toEqual([])
    const left = Effect.runSync(this.#fibers.value).filter((fiber) => fiber.unsafePoll() === null)
    expect(left.length).toBe(0)
    expect(this.#simulation.clock.pending).toBe(0)
  }
}

const isCrowd = ({ behaviour }: ReturnType<typeof Process.impl>): boolean =>
  behaviour instanceof Server && behaviour.callbacks.name === "dynamic supervisor"
