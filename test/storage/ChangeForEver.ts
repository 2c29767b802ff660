/**
 * Run by Folder.test.ts as a process of its own, to be killed: changes files of a folder together, again and again, and
 * prints each version once it is said to be on disk.
 */
import { writeSync } from "node:fs"
import { Effect } from "effect"
import { Folder } from "../../src/storage/index.ts"
import { versionContent } from "./VersionContent.ts"

const [directory = "", first = "0"] = process.argv.slice(2)

const program = Effect.gen(function* () {
  const folder = yield* Folder.open(directory)
  for (let version = Number(first); ; version++) {
    const content = versionContent(version)
    const files = ["a", "t/b", `t/only-${version % 2}`]
    const gone = `t/only-${(version + 1) % 2}`
    yield* folder.change(new Map([...files.map((name) => [name, content] as const), [gone, null]]))
    writeSync(1, `${version}\n`)
  }
})

Effect.runFork(program)
