import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"

/** A directory of its own for one test, gone with the scope. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(join(tmpdir(), "mimosa-test-"))),
  (path) => Effect.promise(() => fs.rm(path, { recursive: true }))
)
