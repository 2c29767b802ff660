/**
 * A pool of workers that crash. The caller of the job that did it gets the reason, the callers of all others an answer, and the
 * pool has as many workers as before. When they crash too often the pool gives up, and its supervisor sets up another one.
 */
import { Effect, Logger, LogLevel, Request } from "effect"
import { DynamicSupervisor, ExitReason, GenServer, Registry, Supervisor } from "mimosa-cache/actor"

class Square extends Request.TaggedClass("Square")<number, "too big", { readonly n: number }> {}
type WorkerRef = GenServer.ServerRef<Square>

const names = Registry.unsafeMake({ keys: "unique" })
const hired = Registry.unsafeMake({ keys: "duplicate" })
const pool = Registry.via<DynamicSupervisor.DynamicSupervisorRef>(names, "pool")

const Worker = GenServer.define<{ readonly call: Square }>()({
  name: "worker",
  init: () => Effect.as(Registry.register(hired, "worker"), GenServer.Ok(null)),
  handleCall: {
    Square: ({ n }, state) => {
      if (n === 13) throw new Error("13 is unlucky")
      return n > 1000 ? GenServer.Fail("too big", state) : GenServer.Reply(n * n, state)
    }
  }
})

/** Hires the workers. Started after the pool and, by rest_for_one, again whenever that is. */
const Foreman = GenServer.define<GenServer.Protocol>()({
  name: "foreman",
  init: (count: number) =>
    Effect.as(
      Effect.replicateEffect(DynamicSupervisor.startChild(pool, GenServer.childSpec(Worker, undefined)), count),
      GenServer.Ok(null)
    )
})

/** Gives a job to one of the workers that are there, in turn. */
let turn = 0
const square = (n: number) =>
  Effect.gen(function* () {
    const workers = yield* Registry.lookup(hired, "worker")
    const worker = workers[turn++ % workers.length]
    if (worker === undefined) return yield* Effect.fail("nobody there" as const)
    return yield* GenServer.call(worker.pid as WorkerRef, new Square({ n }))
  })

/** What its caller sees. */
const outcome = (n: number) =>
  Effect.match(square(n), {
    onSuccess: (result) => `${n} squared is ${result}`,
    onFailure: (error) => {
      if (typeof error === "string") return `${n}: ${error}`
      return `${n}: ${error._tag} (${error._tag === "ProcessExited" ? ExitReason.format(error.reason) : error.message})`
    }
  })

const program = Effect.gen(function* () {
  const factory = yield* Supervisor.start({
    label: "factory",
    strategy: "rest_for_one",
    children: [
      DynamicSupervisor.childSpec("pool", { name: pool, maxChildren: 10, maxRestarts: 3, maxSeconds: 60 }),
      GenServer.childSpec(Foreman, 3)
    ]
  })
  const staff = Effect.gen(function* () {
    yield* Effect.sleep("10 millis") // until all who have something to do have done it
    const pools = (yield* Supervisor.tree(factory))?.children[0]
    const workers = pools?.children ?? []
    return `${workers.length} workers, restarts ${workers.map(({ restarts }) => restarts)}; pool ${(pools?.restarts ?? 0) + 1}`
  })

  console.log(yield* staff)
  for (const n of [3, 2000, 13, 4]) console.log(yield* outcome(n))
  console.log(yield* staff)
  for (const n of [13, 13, 13]) console.log(yield* outcome(n))
  console.log(yield* staff)
  console.log(yield* outcome(5))
})

await program.pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None), Effect.runPromise)
