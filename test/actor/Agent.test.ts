/** Ported behaviours: Elixir, lib/elixir/test/elixir/agent_test.exs (E). */
import { Effect, Exit } from "effect"
import { describe, expect } from "vitest"
import { Agent, ExitReason, Process, Registry, Supervisor } from "../../src/actor/index.ts"
import { behaviour, failure, inProcess } from "./support.ts"

describe("Agent", () => {
  behaviour("start calls the function in the agent and keeps what it returns (E)", () =>
    Effect.gen(function* () {
      const agent = yield* Agent.start(() => ({ hits: 0 }))
      expect(yield* Agent.get(agent, (state) => state)).toEqual({ hits: 0 })
    })
  )

  behaviour("startLink links (E)", () =>
    inProcess(
      Effect.gen(function* () {
        yield* Agent.startLink(() => 0)
        expect(Process.info(yield* Process.self).links).toBe(1)
      })
    )
  )

  behaviour("a function that throws at the start fails the start (E)", () =>
    Effect.gen(function* () {
      const started = Agent.start((): number => {
        throw new Error("no state")
      })
      expect((yield* Effect.flip(started)).message).toBe("agent did not start (crash: Error: no state)")
    })
  )

  behaviour("update changes, get reads, getAndUpdate does both in one step (E)", () =>
    Effect.gen(function* () {
      const agent = yield* Agent.start(() => 1)
      yield* Agent.update(agent, (n) => n + 1)
      expect(yield* Agent.getAndUpdate(agent, (n) => [`was ${n}`, n * 10])).toBe("was 2")
      expect(yield* Agent.get(agent, (n) => n)).toBe(20)
    })
  )

  behaviour("cast changes and does not wait (E)", () =>
    Effect.gen(function* () {
      const agent = yield* Agent.start(() => 1)
      expect(yield* Agent.cast(agent, (n) => n + 1)).toBe(true)
      expect(yield* Agent.get(agent, (n) => n)).toBe(2)
    })
  )

  behaviour("updates of many callers do not get lost", () =>
    Effect.gen(function* () {
      const agent = yield* Agent.start(() => 0)
      yield* Effect.all(
        Array.from({ length: 50 }, () => Agent.update(agent, (n) => n + 1)),
        { concurrency: "unbounded" }
      )
      expect(yield* Agent.get(agent, (n) => n)).toBe(50)
    })
  )

  behaviour("a function that throws crashes the agent, and its caller learns it (E)", () =>
    Effect.gen(function* () {
      const agent = yield* Agent.start(() => 1)
      const asked = Agent.get(agent, (): number => {
        throw "boom"
      })
      expect(yield* failure(asked)).toBe("ProcessExited")
      expect(Process.exitReason(agent)).toEqual(ExitReason.crashWith("boom"))
    })
  )

  behaviour("stop ends it with the reason (E)", () =>
    Effect.gen(function* () {
      const agent = yield* Agent.start(() => 1)
      yield* Agent.stop(agent, ExitReason.shutdown)
      expect(Process.exitReason(agent)).toEqual(ExitReason.shutdown)
      expect(Exit.isFailure(yield* Effect.exit(Agent.get(agent, (n) => n)))).toBe(true)
    })
  )

  behaviour("a supervised agent comes back under its name with its first state", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via<Agent.AgentRef<number>>(names, "hits")
      yield* Supervisor.start({ children: [Agent.childSpec("hits", () => 7, { name })] })
      yield* Agent.update(name, (n) => n + 1)
      yield* Agent.cast(name, () => {
        throw "boom"
      })
      yield* Effect.sleep(10)
      expect(yield* Agent.get(name, (n) => n)).toBe(7)
    })
  )
})
