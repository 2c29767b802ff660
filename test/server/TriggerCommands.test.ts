/** Commands that wait for the trigger engine are answered, whatever becomes of the process that they wait in. */
import { Effect, Exit, Logger, LogLevel, Scope } from "effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { ExitReason, type Pid, Process, Supervisor } from "../../src/actor/index.ts"
import * as TriggerCommands from "../../src/server/TriggerCommands.ts"
import { type RegisteredTrigger, TriggersNotSaved, type TriggersService } from "../../src/triggers/index.ts"

const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Logger.withMinimumLogLevel(effect, LogLevel.None))

const registered = { name: "t" } as RegisteredTrigger
const input = { name: "t", pattern: "*", events: ["ON_WRITE"], source: "return 1" } as const

describe("a command that waits", () => {
  let scope: Scope.CloseableScope
  let root: Supervisor.SupervisorRef
  /** What the engine does with the next trigger. */
  let setting: Effect.Effect<RegisteredTrigger, TriggersNotSaved>
  let commands: TriggerCommands.TriggerCommands

  beforeEach(async () => {
    scope = Effect.runSync(Scope.make())
    const engine = { set: () => Effect.suspend(() => setting), each: () => [registered] }
    commands = TriggerCommands.make(engine as unknown as TriggersService)
    const options = { label: "listeners", maxRestarts: 100, children: [commands.childSpec] }
    root = await run(Scope.extend(Supervisor.start(options), scope))
  })
  afterEach(() => run(Scope.close(scope, Exit.void)))

  const labelled = (name: string) => Process.list().find(({ label }) => label === name) as Pid.Pid
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise((resolve) => setImmediate(resolve))
  }
  const why = (answer: Promise<unknown>) => answer.then(String, (error: Error) => error.message)
  const restarted = "what registers triggers was restarted before it was done; see TRIGGER LIST, and try again"

  it("is answered with what came of it", async () => {
    setting = Effect.succeed(registered)
    expect(await commands.port.set(input)).toBe(registered)
    const refused = new TriggersNotSaved({ cause: new Error("disk full") })
    setting = Effect.fail(refused)
    expect(await commands.port.set(input).catch((error: unknown) => error)).toBe(refused)
    setting = Effect.die(new Error("a defect"))
    expect(await why(commands.port.set(input))).toBe("a defect")
    expect([...commands.port.list()]).toEqual([registered])
    expect(Supervisor.unsafeTree(root)?.children).toMatchObject([{ name: "trigger commands", restarts: 0 }])
  })

  it("waits for no other: many are under way at once", async () => {
    setting = Effect.never
    const answers = [1, 2, 3].map(() => why(commands.port.set(input)))
    const inspected = () => Supervisor.unsafeTree(root)?.children[0]
    await until(() => inspected()?.children.length === 3)
    expect(inspected()?.inspect).toEqual({ waiting: 3 })
    setting = Effect.succeed(registered)
    expect(await commands.port.set(input)).toBe(registered)
    Process.unsafeExit(labelled("trigger commands"), ExitReason.killed)
    expect(await Promise.all(answers)).toEqual(Array(3).fill(restarted))
  })

  it.each([
    ["is killed", "trigger command", ExitReason.killed],
    ["crashes", "trigger command", ExitReason.crashWith("from the test")],
    ["is killed with those that it started", "trigger commands", ExitReason.killed]
  ])("is told so when the process %s", async (_what, label, reason) => {
    setting = Effect.never
    const answer = why(commands.port.set(input))
    await until(() => labelled("trigger command") !== undefined)
    Process.unsafeExit(labelled(label), reason)
    expect(await answer).toBe(restarted)
  })

  it("is told so when it still waited for its turn, and when there is nobody", async () => {
    setting = Effect.never
    const waiting = why(commands.port.set(input)) // a message in the mailbox, no more
    Process.unsafeExit(labelled("trigger commands"), ExitReason.killed)
    const nobody = why(commands.port.set(input))
    expect(await Promise.all([waiting, nobody])).toEqual([restarted, restarted])
    await until(() => Supervisor.unsafeTree(root)?.children[0]?.status === "running")
    setting = Effect.succeed(registered)
    expect(await commands.port.set(input)).toBe(registered)
  })
})
