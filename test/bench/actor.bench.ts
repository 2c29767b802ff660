/**
 * What the actor runtime costs beside bare Effect (Queue, Deferred and fork), and beside XState's actors.
 *
 * Peers alternate in one run and the ratio is the median of the pairs', so that a busy machine slows both. Against bare Effect a call
 * is measured with its time-out (5 s, as always) and the bare round trip without one; a spawn has a mailbox, a scope and an end that
 * others learn of, and the bare fork nothing of that.
 *
 * XState is there for orientation and answers another question: its `send` runs the transition at once, in the sender's turn, with no
 * mailbox, no bound and nobody to restart it, as a method call does; what answers is a promise over snapshots (`waitFor`), and a start makes
 * an object, where ours forks a fiber, links it and waits for `init`. The nearest that we have to its `send` is the synchronous
 * `unsafeOffer`, whose message is handled in a later turn, which is measured too.
 */
import { fileURLToPath } from "node:url"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Request from "effect/Request"
import { createActor, fromTransition, waitFor } from "xstate"
import * as GenServer from "../../src/actor/GenServer.ts"
import * as Process from "../../src/actor/Process.ts"
import { ascending, type Figure, quantile, type Suite } from "./Figure.ts"

class Get extends Request.TaggedClass("Get")<number, never, object> {}
type CounterProtocol = { readonly call: Get; readonly cast: number }

const Counter = GenServer.define<CounterProtocol>()({
  name: "counter",
  init: (count: number) => GenServer.Ok(count),
  handleCall: { Get: (_, count) => GenServer.Reply(count, count) },
  handleCast: (by, count) => GenServer.NoReply(count + by),
  mailbox: { capacity: 1 << 16 }
})

const EffectfulCounter = GenServer.define<CounterProtocol>()({
  name: "counter",
  init: (count: number) => Effect.succeed(GenServer.Ok(count)),
  handleCall: { Get: (_, count) => Effect.succeed(GenServer.Reply(count, count)) },
  handleCast: (by, count) => Effect.succeed(GenServer.NoReply(count + by)),
  mailbox: { capacity: 1 << 16 }
})

const n = 5_000 // operations a sample
const rounds = 12 // samples of each, of which the median counts
const warmUps = 3 // rounds before that

const bareCall = Effect.gen(function* () {
  const queue = yield* Queue.bounded<Deferred.Deferred<number>>(1 << 16)
  const server = yield* Effect.forkDaemon(
    Effect.forever(Effect.flatMap(Queue.take(queue), (answer) => Deferred.succeed(answer, 1)))
  )
  const ms = yield* timed(
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) {
        const answer = yield* Deferred.make<number>()
        yield* Queue.offer(queue, answer)
        yield* Deferred.await(answer)
      }
    })
  )
  yield* Fiber.interrupt(server)
  return ms
})

const bareCallWithTimeout = Effect.gen(function* () {
  const queue = yield* Queue.bounded<Deferred.Deferred<number>>(1 << 16)
  const server = yield* Effect.forkDaemon(
    Effect.forever(Effect.flatMap(Queue.take(queue), (answer) => Deferred.succeed(answer, 1)))
  )
  const ms = yield* timed(
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) {
        const answer = yield* Deferred.make<number>()
        yield* Queue.offer(queue, answer)
        yield* Effect.timeout(Deferred.await(answer), 5000)
      }
    })
  )
  yield* Fiber.interrupt(server)
  return ms
})

const call = (definition: typeof Counter) =>
  Effect.scoped(
    Effect.gen(function* () {
      const server = yield* GenServer.start(definition, 0)
      return yield* timed(
        Effect.gen(function* () {
          for (let i = 0; i < n; i++) yield* GenServer.call(server, new Get())
        })
      )
    })
  )

/** Put in and taken out again, so that both sides of the queue count. */
const bareCast = Effect.gen(function* () {
  const queue = yield* Queue.bounded<number>(1 << 16)
  const done = yield* Deferred.make<void>()
  let sum = 0
  const server = yield* Effect.forkDaemon(
    Effect.forever(
      Effect.flatMap(Queue.take(queue), (by) => {
        sum += by
        return sum === n ? Deferred.succeed(done, undefined) : Effect.void
      })
    )
  )
  const ms = yield* timed(
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) yield* Queue.offer(queue, 1)
      yield* Deferred.await(done)
    })
  )
  yield* Fiber.interrupt(server)
  return ms
})

const cast = (definition: typeof Counter) =>
  Effect.scoped(
    Effect.gen(function* () {
      const server = yield* GenServer.start(definition, 0)
      return yield* timed(
        Effect.gen(function* () {
          for (let i = 0; i < n; i++) yield* GenServer.cast(server, 1)
          yield* GenServer.call(server, new Get())
        })
      )
    })
  )

const unsafeCast = Effect.scoped(
  Effect.gen(function* () {
    const server = yield* GenServer.start(Counter, 0)
    return yield* timed(
      Effect.gen(function* () {
        for (let i = 0; i < n; i++) GenServer.unsafeOffer(server, 1)
        yield* GenServer.call(server, new Get())
      })
    )
  })
)

/** Forked and run to the end. */
const bareSpawn = timed(
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) yield* Effect.forkDaemon(Effect.void)
    yield* Effect.yieldNow()
  })
)

const spawn = timed(
  Effect.gen(function* () {
    for (let i = 0; i < n; i++) yield* Process.spawnDaemon(Effect.void)
    yield* Effect.yieldNow()
  })
)

/** What a server needs at the least: a queue, a fiber that says it is ready, and that waits for messages. */
const bareServer = Effect.gen(function* () {
  const fibers: Array<Fiber.RuntimeFiber<unknown>> = []
  const ms = yield* timed(
    Effect.gen(function* () {
      for (let i = 0; i < n; i++) {
        const queue = yield* Queue.bounded<number>(16)
        const ready = yield* Deferred.make<void>()
        const loop = Effect.forever(Queue.take(queue))
        fibers.push(yield* Effect.forkDaemon(Effect.zipRight(Deferred.succeed(ready, undefined), loop)))
        yield* Deferred.await(ready)
      }
    })
  )
  yield* Fiber.interruptAll(fibers)
  return ms
})

const startLink = Effect.scoped(
  Effect.gen(function* () {
    const done = yield* Deferred.make<number>()
    yield* Process.spawn(
      Effect.gen(function* () {
        const ms = yield* timed(
          Effect.gen(function* () {
            for (let i = 0; i < n; i++) yield* GenServer.startLink(Counter, 0)
          })
        )
        yield* Deferred.succeed(done, ms)
        yield* Process.exit(yield* Process.self, { _tag: "shutdown" })
      })
    )
    return yield* Deferred.await(done)
  })
)

const xstateCounter = fromTransition(
  (count: number, { by }: { readonly type: "add"; readonly by: number }) => count + by,
  0
)

const xstateSend = Effect.sync(() => {
  const actor = createActor(xstateCounter).start()
  const startMs = performance.now()
  for (let i = 0; i < n; i++) actor.send({ type: "add", by: 1 })
  if (actor.getSnapshot().context !== n) throw new Error("xstate has lost messages")
  return performance.now() - startMs
})

const xstateAsk = Effect.promise(async () => {
  const actor = createActor(xstateCounter).start()
  const startMs = performance.now()
  for (let i = 1; i <= n; i++) {
    const answer = waitFor(actor, (snapshot) => snapshot.context === i, { timeout: 5000 })
    actor.send({ type: "add", by: 1 })
    await answer
  }
  return performance.now() - startMs
})

const xstateStart = Effect.sync(() => {
  const actors = new Set<unknown>()
  const startMs = performance.now()
  for (let i = 0; i < n; i++) actors.add(createActor(xstateCounter).start())
  return performance.now() - startMs
})

type Benchmark = Effect.Effect<number, unknown>

const compare = async (id: string, ours: Benchmark, peer: string, bare: Benchmark): Promise<Figure> => {
  const [values, peers, ratios]: [Array<number>, Array<number>, Array<number>] = [[], [], []]
  for (let round = -warmUps; round < rounds; round++) {
    const bareUs = ((await Effect.runPromise(bare)) * 1000) / n
    const ourUs = ((await Effect.runPromise(ours)) * 1000) / n
    if (round < 0) continue
    values.push(ourUs)
    peers.push(bareUs)
    ratios.push(ourUs / bareUs)
  }
  const sorted = ascending(values)
  return {
    id,
    value: quantile(sorted, 0.5),
    unit: "us",
    peer,
    peerValue: quantile(ascending(peers), 0.5),
    ratio: quantile(ascending(ratios), 0.5),
    samples: rounds,
    spread: [quantile(sorted, 0.1), quantile(sorted, 0.9)]
  }
}

/** Idle servers, alive at once. */
const memory = async (count: number): Promise<Figure> => {
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  const bytes = await Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const holder = yield* Deferred.make<number>()
        yield* Process.spawn(
          Effect.gen(function* () {
            const others = Process.totals().alive
            for (let i = 0; i < count; i++) yield* GenServer.startLink(Counter, 0)
            const alive = Process.totals().alive - others
            if (alive !== count) throw new Error(`${alive} of ${count} processes are alive`)
            globalThis.gc?.()
            yield* Deferred.succeed(holder, process.memoryUsage().heapUsed - before)
            yield* Effect.never
          })
        )
        return yield* Deferred.await(holder)
      })
    )
  )
  return { id: `actor.memory.${count}`, value: Math.round(bytes / count), unit: "bytes", samples: 1 }
}

function timed<E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<number, never, R> {
  return Effect.suspend(() => {
    const startMs = performance.now()
    return Effect.map(Effect.orDie(effect), () => performance.now() - startMs)
  })
}

export const suite: Suite = {
  name: "actor",
  run: async (report) => {
    report(await compare("actor.call", call(Counter), "Queue + Deferred", bareCall))
    report(await compare("actor.call.effects", call(EffectfulCounter), "Queue + Deferred", bareCall))
    report(await compare("actor.call.timeout", call(Counter), "… + Effect.timeout", bareCallWithTimeout))
    report(await compare("actor.cast", cast(Counter), "Queue", bareCast))
    report(await compare("actor.cast.effects", cast(EffectfulCounter), "Queue", bareCast))
    report(await compare("actor.offer", unsafeCast, "Queue", bareCast))
    report(await compare("actor.spawn", spawn, "forkDaemon", bareSpawn))
    report(await compare("actor.start", startLink, "Queue + Deferred + forkDaemon", bareServer))
    report(await memory(100_000))
    report(await compare("actor.offer.xstate", unsafeCast, "xstate send", xstateSend))
    report(await compare("actor.call.xstate", call(Counter), "xstate send + waitFor", xstateAsk))
    report(await compare("actor.start.xstate", startLink, "xstate createActor", xstateStart))
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  void suite.run(
    (figure) => console.log(JSON.stringify(figure)),
    () => {}
  )
