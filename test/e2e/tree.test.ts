/** The tree that docs/ARCHITECTURE.md shows is the one that runs. */
import { readFileSync } from "node:fs"
import { Effect, Layer, Logger } from "effect"
import { expect, it } from "vitest"
import { layerWith, ProcessTree } from "../../src/App.ts"
import type { Supervisor } from "../../src/actor/index.ts"
import { CacheClock, TurnClock } from "../../src/cache/index.ts"
import { listeners } from "../../src/cli/listeners.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import { ServerStats } from "../../src/server/ServerState.ts"
import { temporaryFolder } from "../cli/Mimosa.ts"

/** Those that come and go: of a connection, a request, a machine. */
const isPassing = (name: string): boolean => /^(connection \d+|triggers \d+|[A-Z]+ \/.*)$/.test(name)

/** Each name, behind a dot for each level. */
const namesOf = (node: Supervisor.TreeNode, level = 0): string[] => [
  "·".repeat(level) + node.name,
  ...node.children.filter(({ name }) => !isPassing(name)).flatMap((child) => namesOf(child, level + 1))
]

/** The names of a printed tree, in the same form. */
const namesIn = (printed: string): string[] =>
  printed
    .split("\n")
    .map((line) => /^([│├└─ ]*)(.+?) {2,}/.exec(line) as RegExpExecArray)
    .filter(([, , name]) => !isPassing(name as string))
    .map(([, branches, name]) => "·".repeat((branches as string).length / 3) + name)

it("docs/ARCHITECTURE.md shows the processes that run, in their order", async () => {
  const page = readFileSync(new URL("../../docs/ARCHITECTURE.md", import.meta.url), "utf8")
  const [, printed = ""] = /^NAME .*\n([\s\S]*?)\n```/m.exec(page) ?? []
  const folder = await temporaryFolder()
  const clock = new TurnClock()
  const readiness = new Readiness(["HTTP", "RESP"])
  const options = { host: "127.0.0.1", port: 0, httpPort: 0, password: undefined, enableDebugCommand: false }
  const program = layerWith(
    { dataDir: folder.path },
    [listeners({ ...options, readiness, stats: new ServerStats(), clock })],
    { clock: Layer.succeed(CacheClock, clock) }
  )
  const tree = await ProcessTree.pipe(
    Effect.map(({ read }) => read() as Supervisor.TreeNode),
    Effect.provide(program),
    Effect.provide(Logger.remove(Logger.defaultLogger)),
    Effect.runPromise
  )
  await folder.remove()
  expect(namesIn(printed)).toEqual(namesOf(tree))
})
