import * as fs from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { AtomicFile } from "../../src/storage/index.ts"
import { temporaryDirectory } from "./TemporaryDirectory.ts"
import { untilKilled } from "./untilKilled.ts"
import { versionContent } from "./VersionContent.ts"

const bytes = (text: string) => Buffer.from(text)
const list = (directory: string) => Effect.promise(() => fs.readdir(directory))

describe("AtomicFile", () => {
  it.scoped("reads nothing before the first replacement, then what was put last", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryDirectory, "file")
      const file = yield* AtomicFile.open(path)
      expect(yield* file.read).toBeUndefined()
      yield* file.replace(bytes("first, and longer"))
      yield* file.replace(bytes("second"))
      expect(yield* file.read).toEqual(bytes("second"))
      expect(yield* (yield* AtomicFile.open(path)).read).toEqual(bytes("second"))
    })
  )

  it.scoped("gives the file to its owner alone, and leaves nothing else behind", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const file = yield* AtomicFile.open(join(directory, "file"))
      yield* file.replace(bytes("x"))
      expect((yield* Effect.promise(() => fs.stat(file.path))).mode & 0o777).toBe(0o600)
      expect(yield* list(directory)).toEqual(["file"])
    })
  )

  it.scoped("keeps the order of replacements that are asked for at once", () =>
    Effect.gen(function* () {
      const file = yield* AtomicFile.open(join(yield* temporaryDirectory, "file"))
      const versions = Array.from({ length: 20 }, (_, version) => versionContent(version))
      yield* Effect.forEach(versions, file.replace, { concurrency: "unbounded" })
      expect(yield* file.read).toEqual(versions.at(-1))
    })
  )

  it.scoped("removes at open what a crash left of a replacement", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* Effect.promise(() => fs.writeFile(join(directory, "file"), "whole"))
      yield* Effect.promise(() => fs.writeFile(join(directory, "file.tmp"), "hal"))
      const file = yield* AtomicFile.open(join(directory, "file"))
      expect(yield* list(directory)).toEqual(["file"])
      expect(yield* file.read).toEqual(bytes("whole"))
    })
  )

  it.scoped("keeps the old version when the new one cannot be written, and says which file it was", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryDirectory, "file")
      const file = yield* AtomicFile.open(path)
      yield* file.replace(bytes("old"))
      yield* Effect.promise(() => fs.mkdir(`${path}.tmp`))
      const error = yield* Effect.flip(file.replace(bytes("new")))
      expect(error).toMatchObject({ _tag: "StorageIo", path, message: expect.stringContaining("EISDIR") })
      expect(yield* file.read).toEqual(bytes("old"))
    })
  )

  it.scopedLive(
    "reads as a whole version after each of 5 kills in the middle of replacements",
    () =>
      Effect.gen(function* () {
        const directory = yield* temporaryDirectory
        let last = 0
        for (let kill = 0; kill < 5; kill++) {
          const reported = yield* Effect.promise(() =>
            untilKilled("ReplaceForEver", directory, last + 1, 1 + ((kill * 5) % 7))
          )
          const content = (yield* (yield* AtomicFile.open(join(directory, "file"))).read) ?? bytes("")
          const version = Number.parseInt(Buffer.from(content).toString(), 10)
          expect(content).toEqual(versionContent(version))
          expect(version).toBeGreaterThanOrEqual(reported)
          last = version
        }
      }),
    90_000 // ms; five processes are started, one after the other
  )
})
