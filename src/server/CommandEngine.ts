/**
 * The process in whose name commands use an engine: a connection is synchronous code, and the engine's methods are
 * effects. What answers at once runs in the connection's turn. What has to be saved first, or waits, runs in a process
 * of its own, linked to this one, so that many who register at once are saved together, and none waits for another.
 *
 * Whatever becomes of the process, every command is answered: those whose work it had are told when it ends.
 */
import { Cause, Effect, Exit, Runtime } from "effect"
import { GenServer, Process, Registry, type Supervisor } from "../actor/index.ts"

export interface CommandEngine {
  /** The outcome of an effect that may take its time; rejects with what it fails with. */
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  /** The outcome of an effect that answers at once. */
  readonly now: <A>(effect: Effect.Effect<A>) => A
  readonly childSpec: Supervisor.ChildSpec<Process.Self>
}

interface Work {
  readonly effect: Effect.Effect<void>
  /** Answers the command whose work ended without an answer, if it did. */
  readonly giveUp: () => void
}

interface Protocol extends GenServer.Protocol {
  readonly cast: Work
}

const waitingMax = 10_000 // as many as there may be connections, each of which waits for one command at most

/**
 * `label` is what a single work's process is called, this one its plural; `restarting` is told to who waited when it
 * ended.
 */
export const make = (label: string, restarting: string): CommandEngine => {
  const name = Registry.via<GenServer.RefOf<Protocol>>(Registry.unsafeMake({ keys: "unique" }), `${label}s`)
  const waiting = new Set<() => void>()
  let runtime: Runtime.Runtime<never> = Runtime.defaultRuntime

  const Server = GenServer.define<Protocol>()({
    name: `${label}s`,
    trapExit: true, // work that crashes has told its command why
    mailbox: { capacity: waitingMax, overflow: "reject" },
    init: () =>
      Effect.gen(function* () {
        runtime = yield* Effect.runtime<never>()
        Process.onExit(yield* Process.self, () => {
          for (const giveUp of [...waiting]) giveUp()
        })
        return GenServer.Ok(null)
      }),
    handleCast: ({ effect, giveUp }, state) =>
      Effect.map(Process.spawnLink(effect, { label }), (pid) => {
        Process.onExit(pid, giveUp)
        return GenServer.NoReply(state)
      }),
    inspect: () => ({ waiting: waiting.size })
  })

  const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
    new Promise((resolve, reject) => {
      const giveUp = () => void (waiting.delete(giveUp) && reject(new Error(restarting)))
      const settle = (exit: Exit.Exit<A, E>) => {
        if (!waiting.delete(giveUp)) return
        if (Exit.isSuccess(exit)) resolve(exit.value)
        else reject(Cause.squash(exit.cause))
      }
      waiting.add(giveUp)
      const work = { effect: Effect.map(Effect.exit(effect), settle), giveUp }
      if (!GenServer.unsafeOffer(name, work)) giveUp()
    })

  return {
    run,
    now: (effect) => Runtime.runSync(runtime)(effect),
    childSpec: GenServer.childSpec(Server, undefined, { name })
  }
}
