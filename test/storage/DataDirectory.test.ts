import { spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Schema, Scope } from "effect"
import { DataDirectory, type VersionedDocument } from "../../src/storage/index.ts"
import { removeIfDead } from "../../src/storage/internal/directoryLock.ts"
import { temporaryDirectory } from "./TemporaryDirectory.ts"

interface Notes {
  readonly lines: ReadonlyArray<string>
}

const notes: VersionedDocument<Notes, Notes> = {
  kind: "notes",
  version: 2,
  schema: Schema.Struct({ lines: Schema.Array(Schema.String) })
}

const list = (directory: string) => Effect.promise(() => fs.readdir(directory))
const write = (path: string, text: string) => Effect.promise(() => fs.writeFile(path, text))
const readText = (path: string) => Effect.promise(() => fs.readFile(path, "utf8"))

describe("the owner of a data directory", () => {
  it.scoped("creates it with its parents, and leaves no lock when it is done", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryDirectory, "a", "b")
      yield* Effect.scoped(
        Effect.gen(function* () {
          expect((yield* DataDirectory.make(path)).path).toBe(path)
          expect(yield* list(path)).toEqual(["lock"])
        })
      )
      expect(yield* list(path)).toEqual([])
    })
  )

  it.scoped("is refused while a live process has it, with its pid and the directory in the error", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* write(join(path, "lock"), JSON.stringify({ pid: process.ppid, started: "" }))
      const error = yield* Effect.flip(DataDirectory.make(path))
      expect(error).toMatchObject({ _tag: "DataDirectoryLocked", directory: path, pid: process.ppid })
      expect(error.message).toContain(`data directory ${path} is in use by process ${process.ppid}`)
      expect(yield* list(path)).toEqual(["lock"])
    })
  )

  it.scoped("is refused a second time within one process, until the first lets go", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      const first = yield* Scope.make()
      yield* Scope.extend(DataDirectory.make(path), first)
      expect(yield* Effect.flip(DataDirectory.make(path))).toMatchObject({ pid: process.pid })
      yield* Scope.close(first, Exit.void)
      yield* DataDirectory.make(path)
    })
  )

  it.scoped("takes over from a process that is gone", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* write(join(path, "lock"), JSON.stringify({ pid: yield* Effect.promise(pidOfTheDead), started: "1" }))
      yield* DataDirectory.make(path)
      expect(JSON.parse(yield* readText(join(path, "lock")))).toMatchObject({ pid: process.pid })
      expect(yield* list(path)).toEqual(["lock"])
    })
  )

  it.scoped.skipIf(process.platform !== "linux")("takes over when the pid now belongs to another process", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* write(join(path, "lock"), JSON.stringify({ pid: process.pid, started: "1" }))
      yield* DataDirectory.make(path)
    })
  )

  it.scoped("takes over a lock that names nobody", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* write(join(path, "lock"), "")
      yield* DataDirectory.make(path)
    })
  )

  it.scoped("is exactly one of two that find a dead lock, however far the second is behind the first", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      const pid = yield* Effect.promise(pidOfTheDead)
      const start = Effect.either(DataDirectory.make(path))
      for (let behind = 0; behind < 60; behind++) {
        yield* write(join(path, "lock"), JSON.stringify({ pid, started: "1" }))
        const second = Effect.zipRight(
          Effect.promise(() => turns(behind)),
          start
        )
        const won = yield* Effect.scoped(Effect.all([start, second], { concurrency: 2 }))
        expect(won.map(({ _tag }) => _tag).sort()).toEqual(["Left", "Right"])
        expect(yield* list(path)).toEqual([])
      }
    })
  )

  it.scoped("keeps its lock when another start takes it for the dead one that it has replaced", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      yield* DataDirectory.make(path)
      const held = yield* readText(join(path, "lock"))
      yield* Effect.promise(() => removeIfDead(join(path, "lock"), join(path, "aside")))
      expect([yield* list(path), yield* readText(join(path, "lock"))]).toEqual([["lock"], held])
    })
  )

  // Node's recursive mkdir never returns from such a place.
  it.scoped.skipIf(process.platform !== "linux")("is told when the system has no directory to make one in", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(DataDirectory.make("/proc/mimosa"))
      expect(error).toMatchObject({ _tag: "StorageIo", operation: "creating", path: "/proc/mimosa" })
    })
  )

  it.scoped("is told when the directory cannot be made", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryDirectory, "file")
      yield* write(path, "")
      expect(yield* Effect.flip(DataDirectory.make(join(path, "below")))).toMatchObject({
        _tag: "StorageIo",
        message: expect.stringContaining(`creating ${join(path, "below")} failed`)
      })
    })
  )
})

describe("a versioned document", () => {
  it.scoped("starts as undefined and comes back as it was replaced", () =>
    Effect.gen(function* () {
      const data = yield* DataDirectory.make(yield* temporaryDirectory)
      const file = yield* data.open(notes)
      expect(file.initial).toBeUndefined()
      yield* file.replace({ lines: ["ä", "b"] })
      expect((yield* data.open(notes)).initial).toEqual({ lines: ["ä", "b"] })
      expect(JSON.parse(yield* readText(file.path))).toEqual({ kind: "notes", version: 2, data: { lines: ["ä", "b"] } })
    })
  )

  it.scoped("does not clobber when a restarted process has it open twice", () =>
    Effect.gen(function* () {
      const data = yield* DataDirectory.make(yield* temporaryDirectory)
      const files = [yield* data.open(notes), yield* data.open(notes)]
      const long = { lines: Array.from({ length: 10_000 }, (_, i) => `${i}`) }
      const replacements = files.flatMap((file) => [file.replace(long), file.replace({ lines: ["last"] })])
      yield* Effect.all(replacements, { concurrency: "unbounded" })
      expect((yield* data.open(notes)).initial).toEqual({ lines: ["last"] })
    })
  )

  const good = JSON.stringify({ kind: "notes", version: 2, data: { lines: ["a"] } })
  for (const [what, text, reason] of [
    ["is cut off", good.slice(0, -5), "not JSON"],
    ["is empty", "", "not JSON"],
    ["is not UTF-8", Buffer.from([0x22, 0xff, 0x22]), "not JSON in UTF-8"],
    ["is another JSON", "[]", "Expected"],
    ["has no version", '{"kind":"notes","data":{}}', "version: is missing"],
    ["is of another kind", good.replace("notes", "triggers"), 'it holds "triggers", not "notes"'],
    ["does not fit the schema", good.replace('"a"', "7"), "lines.0: Expected string, actual 7"]
  ] as const) {
    it.scoped(`that ${what} is refused by name and left as it is`, () =>
      Effect.gen(function* () {
        const data = yield* DataDirectory.make(yield* temporaryDirectory)
        const path = join(data.path, "notes.json")
        yield* Effect.promise(() => fs.writeFile(path, text))
        const error = yield* Effect.flip(data.open(notes))
        expect(error).toMatchObject({ _tag: "FileCorrupt", path, reason: expect.stringContaining(reason) })
        expect(error.message).toContain(path)
        expect(yield* Effect.promise(() => fs.readFile(path))).toEqual(Buffer.from(text as string))
      })
    )
  }

  it.scoped("of a version it does not know is refused with both versions, and left as it is", () =>
    Effect.gen(function* () {
      const data = yield* DataDirectory.make(yield* temporaryDirectory)
      const path = join(data.path, "notes.json")
      const later = good.replace('"version":2', '"version":3')
      yield* write(path, later)
      const error = yield* Effect.flip(data.open(notes))
      expect(error).toMatchObject({ _tag: "FileVersionUnknown", path, found: 3, supported: 2 })
      expect(yield* readText(path)).toBe(later)
    })
  )
})

/** The pid of a process that ran and has ended. */
const pidOfTheDead = (): Promise<number> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, ["--version"], { stdio: "ignore" })
    child.once("exit", () => resolve(child.pid as number))
  })

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}
