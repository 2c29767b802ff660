/** DEBUG CRASH: which process is meant, and what happens to it. */
import { Effect, Exit, Logger, LogLevel, Scope } from "effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { DynamicSupervisor, GenServer, type Pid, Process, Supervisor } from "../../../src/actor/index.ts"
import { DebugPort } from "../../../src/server/DebugPort.ts"
import { RawClient } from "../RawClient.ts"
import { startServer, type TestServer } from "../TestServer.ts"

const worker = (name: string, trapExit = false) =>
  GenServer.childSpec(GenServer.define()({ name, trapExit, init: () => GenServer.Ok(null) }), undefined, { id: name })

let scope: Scope.CloseableScope
let root: Supervisor.SupervisorRef
let server: TestServer
let client: RawClient

const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Logger.withMinimumLogLevel(effect, LogLevel.None))

beforeEach(async () => {
  scope = Effect.runSync(Scope.make())
  const children = [
    worker("plain"),
    worker("trapping", true),
    Supervisor.childSpec("left", { children: [worker("twin"), DynamicSupervisor.childSpec("trigger workers")] }),
    Supervisor.childSpec("right", { children: [worker("twin")] })
  ]
  root = await run(Scope.extend(Supervisor.start({ label: "top", maxRestarts: 100, children }), scope))
  server = await startServer({ debug: new DebugPort(() => Supervisor.unsafeTree(root)) })
  client = await RawClient.connect(server.port)
})
afterEach(async () => {
  await client.close()
  await server.stop()
  await run(Scope.close(scope, Exit.void))
})

const at = (path: string): Supervisor.TreeNode => {
  const names = path.split("/")
  const find = (node: Supervisor.TreeNode | undefined, [name, ...rest]: string[]): Supervisor.TreeNode | undefined =>
    name === undefined
      ? node
      : find(
          node?.children.find((child) => child.name === name),
          rest
        )
  return find(Supervisor.unsafeTree(root) ?? undefined, names) as Supervisor.TreeNode
}
const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}
const idOf = (path: string): string => /\d+\.\d+/.exec(at(path).pid as string)?.[0] as string

describe("DEBUG CRASH", () => {
  it.each([
    ["a name", "plain", () => ["plain"]],
    ["a name of several words", "left/trigger workers", () => ["trigger", "workers"]],
    ["a name in one argument", "left/trigger workers", () => ["trigger workers"]],
    ["a path", "left/twin", () => ["left/twin"]],
    ["a path with spaces", "left/trigger workers", () => ["left/trigger workers"]],
    ["a pid", "right/twin", () => [idOf("right/twin")]],
    ["a pid in brackets", "right/twin", () => [`<${idOf("right/twin")}>`]],
    ["a pid as the tree prints it", "right/twin", () => [at("right/twin").pid as string]],
    ["one that traps exits", "trapping", () => ["trapping"]],
    ["a supervisor", "left", () => ["left"]]
  ])("crashes %s, and its supervisor brings it back", async (_what, path, words) => {
    const before = at(path).pid
    expect(await client.send("DEBUG", "CRASH", ...words())).toBe("+OK\r\n")
    await until(() => at(path)?.status === "running" && at(path).pid !== before)
    expect(at(path)).toMatchObject({ restarts: 1, lastExit: expect.stringContaining("CrashedByCommand: DEBUG CRASH") })
  })

  it("stops a supervisor's children in order before it crashes", async () => {
    const ended: string[] = []
    for (const path of ["left/twin", "left/trigger workers", "left"]) {
      const pid = Process.list().find((pid) => String(pid) === at(path).pid) as Pid.Pid
      Process.onExit(pid, ({ _tag }) => ended.push(`${path} ${_tag}`))
    }
    await client.send("DEBUG", "CRASH", "left")
    await until(() => ended.length === 3)
    expect(ended).toEqual(["left/trigger workers shutdown", "left/twin shutdown", "left crash"])
  })

  it.each([
    ["twin", "-ERR 'twin' may be any of left/twin, right/twin; give the path or the pid\r\n"],
    ["top", "-ERR 'top' is the root, above which nobody could restart it; crash one of those below it\r\n"],
    [
      "plai",
      "-ERR no process is called 'plai'; mimosa top shows names, paths (webhooks/dispatcher) and pids (0.42)\r\n"
    ],
    ["0.0", "-ERR no process is called '0.0'; mimosa top shows names, paths (webhooks/dispatcher) and pids (0.42)\r\n"]
  ])("refuses %j, and says what would be right", async (target, answer) => {
    expect(await client.send("DEBUG", "CRASH", target)).toBe(answer)
    await until(() => Supervisor.unsafeTree(root) !== null)
    for (const path of ["plain", "trapping", "left", "right"]) expect(at(path).restarts).toBe(0)
  })

  it("refuses one that does not run at the moment", async () => {
    await run(Supervisor.terminateChild(root, "plain"))
    expect(await client.send("DEBUG", "CRASH", "plain")).toBe(
      "-ERR 'plain' does not run at this moment; its supervisor is restarting it\r\n"
    )
  })

  it("takes a process, and is the only kind of DEBUG", async () => {
    expect(await client.send("DEBUG", "CRASH")).toBe("-ERR wrong number of arguments for 'debug|crash' command\r\n")
    expect(await client.send("DEBUG", "SLEEP", "1")).toBe("-ERR unknown subcommand 'SLEEP'. Try DEBUG HELP.\r\n")
    expect(await client.send("CONFIG", "GET", "enable-debug-command")).toContain("\r\nyes\r\n")
  })
})
