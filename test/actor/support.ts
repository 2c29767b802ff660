/**
 * How the behaviours of the actor runtime are tested: each in a simulated world, under several interleavings, in
 * virtual time.
 *
 * A sleep in these tests moves virtual time and takes none. After each run no process may be left.
 */
import { Deferred, Effect, Exit, type Fiber, Logger, LogLevel, Request, type Scope } from "effect"
import { expect, it } from "vitest"
import { ExitReason, GenServer, Process, type Supervisor } from "../../src/actor/index.ts"
import { Simulation } from "../../src/testing/index.ts"

const worlds: ReadonlyArray<Simulation.Options> = [
  { seed: 0, order: "fifo" },
  { seed: 1 },
  { seed: 2 },
  { seed: 3 },
  { seed: 4 }
]

/** A test whose name is a sentence of behaviour, run in each of the worlds. */
export const behaviour = (sentence: string, program: () => Effect.Effect<unknown, unknown, Scope.Scope>): void =>
  it(sentence, () => {
    for (const world of worlds) {
      const before = Process.totals()
      const quiet = Logger.withMinimumLogLevel(Effect.scoped(program()), LogLevel.None)
      const simulation = Simulation.make(world)
      const exit = simulation.run(Effect.sandbox(quiet))
      if (Exit.isFailure(exit))
        throw new Error(`in world ${JSON.stringify(world)}: ${exit.cause}`, { cause: exit.cause })
      simulation.advance(60_000) // what is left ends by its own time-outs
      const after = Process.totals()
      expect({ alive: after.alive, zombies: after.zombies }, `left over in world ${JSON.stringify(world)}`).toEqual({
        alive: before.alive,
        zombies: before.zombies
      })
    }
  })

/** Runs an effect in a process of its own, as each of Elixir's tests is one, and answers what it does. */
export const inProcess = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: Process.SpawnOptions
): Effect.Effect<A, E, Exclude<R, Process.Self> | Scope.Scope> =>
  Effect.gen(function* () {
    const done = yield* Deferred.make<A, E>()
    yield* Process.spawn(Effect.intoDeferred(effect, done) as Effect.Effect<boolean, never, R>, {
      label: "test",
      ...options
    })
    return yield* Deferred.await(done)
  }) as never

/** … with exits of linked processes as messages. */
export const trapping = <A, E, R>(effect: Effect.Effect<A, E, R>) => inProcess(effect, { trapExit: true })

/** The next message of this process, or "nothing" if none comes within a second. */
export const next: Effect.Effect<unknown, never, Process.Self> = Process.receive.pipe(
  Effect.timeoutTo({ duration: 1000, onTimeout: () => "nothing" as unknown, onSuccess: (message) => message })
)

/** Lets everybody who is ready run. */
export const settle = Effect.sleep(1)

/**
 * On the machine's own event loop: a child that starts once and crashes, and then never starts again. Its supervisor
 * must try in every turn of the event loop, but not more often.
 */
export const startsThatFail = async (
  startWith: (child: Supervisor.ChildSpec<Process.Self>) => Effect.Effect<unknown, unknown, Scope.Scope>
): Promise<void> => {
  let starts = 0
  const start = Effect.suspend(() =>
    starts++ === 0 ? Process.spawnLink(Effect.die("boom"), { label: "broken" }) : Effect.fail("not again")
  )
  const program = Effect.gen(function* () {
    yield* startWith({ id: "broken", start })
    while (starts < 2) yield* Process.nextTurn
    const before = starts
    const turns = 50
    for (let turn = 0; turn < turns; turn++) yield* Process.nextTurn
    expect(starts - before).toBeGreaterThan(turns / 2)
    expect(starts - before).toBeLessThanOrEqual(turns + 1)
  })
  await Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(program), LogLevel.None))
}

/** The tag of what an effect fails with. */
export const failure = <A, E extends { readonly _tag: string }, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<E["_tag"] | "success", never, R> =>
  Effect.match(effect, { onFailure: (error) => error._tag, onSuccess: () => "success" as const })

export const isRunning = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean => fiber.unsafePoll() === null

export const boom = ExitReason.crashWith("boom")

// Elixir's own test server, lib/elixir/test/elixir/gen_server_test.exs, module Stack.
export class Pop extends Request.TaggedClass("Pop")<string | undefined, "empty", object> {}
export class Noreply extends Request.TaggedClass("Noreply")<never, never, object> {}
export class Size extends Request.TaggedClass("Size")<number, never, object> {}
export class StopWith extends Request.TaggedClass("StopWith")<
  string,
  never,
  { readonly reason: ExitReason.ExitReason; readonly reply?: string }
> {}
export class Work extends Request.TaggedClass("Work")<string, never, { readonly ms: number; readonly id?: string }> {}

export interface StackProtocol extends GenServer.Protocol {
  readonly call: Pop | Noreply | Size | StopWith | Work
  readonly cast: { readonly push: string } | { readonly crash: unknown }
  readonly info: string
}
export type StackRef = GenServer.RefOf<StackProtocol>

type Items = ReadonlyArray<string>

const stackCallbacks = {
  name: "stack",
  init: (items: Items) => GenServer.Ok(items),
  handleCall: {
    Pop: (_: Pop, items: Items) => {
      const [first, ...rest] = items
      return first === undefined ? GenServer.Fail("empty" as const, items) : GenServer.Reply(first, rest)
    },
    Noreply: (_: Noreply, items: Items) => GenServer.NoReply(items),
    Size: (_: Size, items: Items) => GenServer.Reply(items.length, items),
    StopWith: ({ reason, reply }: StopWith, items: Items) =>
      reply === undefined ? GenServer.Stop(reason, items) : GenServer.Stop(reason, items, { reply }),
    Work: ({ id, ms }: Work, items: Items) => Effect.as(Effect.sleep(ms), GenServer.Reply(id ?? "done", items))
  },
  handleCast: (message: StackProtocol["cast"], items: Items) => {
    if ("crash" in message) throw message.crash
    return GenServer.NoReply([message.push, ...items])
  },
  handleInfo: (message: unknown, items: Items) =>
    GenServer.NoReply(typeof message === "string" ? [message, ...items] : items),
  inspect: (items: Items) => ({ size: items.length })
}

export const Stack = GenServer.define<StackProtocol>()(stackCallbacks)

/** What children did, in order. */
export class Diary {
  readonly entries: Array<string> = []

  write(entry: string): void {
    this.entries.push(entry)
  }

  /** The entries so far; the next look begins after them. */
  take(): ReadonlyArray<string> {
    return this.entries.splice(0)
  }
}

export interface ChildBehaviour {
  readonly trapExit?: boolean
  /** How long `terminate` takes, in milliseconds. */
  readonly terminateMs?: number
  readonly init?: () => Effect.Effect<unknown, unknown>
}

class Ping extends Request.TaggedClass("Ping")<string, never, object> {}
export interface WorkerProtocol extends GenServer.Protocol {
  readonly call: Ping
  readonly cast: "crash" | "stop" | "shutdown" | "block"
}
export type WorkerRef = GenServer.RefOf<WorkerProtocol>

/** A child that writes when it starts, when it terminates, and when its scope is closed. */
export const worker = (
  diary: Diary,
  id: string,
  overrides: Partial<Omit<Supervisor.ChildSpec, "id" | "start">> = {},
  behaviour: ChildBehaviour = {}
): Supervisor.ChildSpec<Process.Self, WorkerRef> =>
  GenServer.childSpec(
    GenServer.define<WorkerProtocol>()({
      name: id,
      trapExit: behaviour.trapExit ?? true,
      init: () =>
        Effect.gen(function* () {
          if (behaviour.init !== undefined) yield* behaviour.init()
          diary.write(`start ${id}`)
          yield* Effect.addFinalizer(() => Effect.sync(() => diary.write(`end ${id}`)))
          return GenServer.Ok(id)
        }),
      handleCall: { Ping: (_, state) => GenServer.Reply(state, state) },
      handleCast: (message, state) => {
        switch (message) {
          case "crash":
            throw new Error(`${id} crashed`)
          case "stop":
            return GenServer.Stop(ExitReason.normal, state)
          case "shutdown":
            return GenServer.Stop(ExitReason.shutdown, state)
          case "block":
            return Effect.never
        }
      },
      terminate: () => Effect.sleep(behaviour.terminateMs ?? 0)
    }),
    undefined,
    { id, ...overrides }
  )

/** The running children of a supervisor: id → pid. */
export const pids = (node: { readonly id: string; readonly pid: unknown }): [string, unknown] => [node.id, node.pid]
