/**
 * Run by AtomicFile.test.ts as a process of its own, to be killed: replaces `<directory>/file` with versions 1, 2, … of
 * very different lengths, and prints each version once it is said to be on disk.
 */
import { join } from "node:path"
import { Effect } from "effect"
import { AtomicFile } from "../../src/storage/index.ts"
import { versionContent } from "./VersionContent.ts"

const [directory = "", first = "1"] = process.argv.slice(2)
await Effect.runPromise(
  Effect.gen(function* () {
    const file = yield* AtomicFile.open(join(directory, "file"))
    for (let version = Number(first); ; version++) {
      yield* file.replace(versionContent(version))
      process.stdout.write(`${version}\n`)
    }
  })
)
