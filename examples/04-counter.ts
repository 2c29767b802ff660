/**
 * A counter under a supervisor: when it crashes its caller gets the reason, and another one is there under the same name. Its
 * count is lost with the process, unless it belongs to the scope above.
 */
import { Effect, Logger, LogLevel, Request } from "effect"
import { ExitReason, GenServer, Registry, Supervisor } from "mimosa-cache/actor"

class Get extends Request.TaggedClass("Get")<number, never, object> {}
class Add extends Request.TaggedClass("Add")<number, "not so fast", { readonly by: number }> {}

type CounterProtocol = { readonly call: Get | Add; readonly cast: "increment" }
type CounterRef = GenServer.RefOf<CounterProtocol>

const Counter = GenServer.define<CounterProtocol>()({
  name: "counter",
  init: (memory: () => { count: number }) => GenServer.Ok(memory()),
  handleCall: {
    Get: (_, state) => GenServer.Reply(state.count, state),
    Add: ({ by }, state) => {
      if (Number.isNaN(by)) throw new RangeError("NaN cannot be added") // a mistake: crash
      if (by > 9) return GenServer.Fail("not so fast", state) // to be expected: a typed error
      state.count += by
      return GenServer.Reply(state.count, state)
    }
  },
  handleCast: (_, state) => {
    state.count++
    return GenServer.NoReply(state)
  }
})

const program = Effect.gen(function* () {
  const names = yield* Registry.make({ keys: "unique" })
  const clicks = Registry.via<CounterRef>(names, "clicks")
  const visits = Registry.via<CounterRef>(names, "visits")
  const visited = { count: 0 } // outlives the counter that counts in it

  const supervisor = yield* Supervisor.start({
    label: "counters",
    children: [
      GenServer.childSpec(Counter, () => ({ count: 0 }), { id: "clicks", name: clicks }),
      GenServer.childSpec(Counter, () => visited, { id: "visits", name: visits })
    ]
  })

  for (const counter of [clicks, visits]) {
    yield* GenServer.cast(counter, "increment")
    console.log(`${counter.key}: `, yield* GenServer.call(counter, new Add({ by: 2 })))
    console.log("  refused: ", yield* Effect.flip(GenServer.call(counter, new Add({ by: 10 }))))

    const error = yield* Effect.flip(GenServer.call(counter, new Add({ by: Number.NaN })))
    if (typeof error === "object" && error._tag === "ProcessExited") {
      console.log("  crashed: ", ExitReason.format(error.reason))
    }
    yield* Supervisor.countChildren(supervisor) // is answered when the supervisor has seen to it
    console.log("  after it:", yield* GenServer.call(counter, new Get()))
  }

  const tree = yield* Supervisor.tree(supervisor)
  console.log("restarts:", Object.fromEntries((tree?.children ?? []).map(({ name, restarts }) => [name, restarts])))
})

// A crash is logged with its cause; here it would only be in the way.
await program.pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None), Effect.runPromise)
