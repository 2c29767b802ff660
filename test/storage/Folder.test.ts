import * as fs from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import fc from "fast-check"
import { DataDirectory, Folder } from "../../src/storage/index.ts"
import { temporaryDirectory } from "./TemporaryDirectory.ts"
import { untilKilled } from "./untilKilled.ts"
import { versionContent } from "./VersionContent.ts"

const bytes = (text: string) => Buffer.from(text)
const change = (folder: Folder.Folder, changes: Readonly<Record<string, string | null>>) =>
  folder.change(new Map(Object.entries(changes).map(([name, text]) => [name, text === null ? null : bytes(text)])))
const contentOf = (folder: Folder.Folder) =>
  Effect.map(folder.read, ({ files }) =>
    Object.fromEntries([...files].map(([name, content]) => [name, Buffer.from(content).toString()]))
  )
const onDisk = (directory: string) =>
  Effect.promise(async () => {
    const found = await fs.readdir(directory, { recursive: true, withFileTypes: true })
    return found
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
      .sort()
  })
const opened = Effect.gen(function* () {
  const path = join(yield* temporaryDirectory, "files")
  return { path, folder: yield* Folder.open(path) }
})

describe("a folder of files", () => {
  it.scoped("is empty at first, and reads back what was put last, removed what was removed", () =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      expect(yield* folder.read).toEqual({ files: new Map(), strangers: [] })
      yield* change(folder, { a: "1", "t/b.lua": "2", "t/c.lua": "3" })
      yield* change(folder, { a: "longer than before", "t/c.lua": null, "u/never": null })
      expect(yield* contentOf(folder)).toEqual({ a: "longer than before", "t/b.lua": "2" })
      expect(yield* contentOf(yield* Folder.open(path))).toEqual({ a: "longer than before", "t/b.lua": "2" })
    })
  )

  it.scoped("belongs to its owner alone, and leaves no other files and no empty directories behind", () =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      yield* change(folder, { "t/a": "1", "u/b": "2" })
      yield* change(folder, { "u/b": null })
      expect(yield* onDisk(path)).toEqual(["t/a"])
      expect(yield* Effect.promise(() => fs.readdir(path))).toEqual(["t"])
      const modes = yield* Effect.promise(() =>
        Promise.all([path, join(path, "t"), join(path, "t/a")].map((each) => fs.stat(each)))
      )
      expect(modes.map(({ mode }) => mode & 0o777)).toEqual([0o700, 0o700, 0o600])
    })
  )

  it.scoped("keeps names apart that differ in case alone, also where a file system would not", () =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      yield* change(folder, { "Acme/Main.lua": "1", "acme/main.lua": "2", "acme/MAIN.lua": "3" })
      expect(yield* contentOf(folder)).toEqual({ "Acme/Main.lua": "1", "acme/main.lua": "2", "acme/MAIN.lua": "3" })
      const names = yield* onDisk(path)
      expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(3)
      expect(names).toContain("+acme/+main.lua")
    })
  )

  it.scoped("reads back any names that it takes", () =>
    Effect.gen(function* () {
      const { folder } = yield* opened
      const part = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,30}$/)
      const names = fc.sample(
        fc.oneof(
          part,
          fc.tuple(part, part).map((parts) => parts.join("/"))
        ),
        { numRuns: 100, seed: 1 }
      )
      // A file cannot bear the name of a directory.
      const directories = new Set(names.filter((name) => name.includes("/")).map((name) => name.split("/")[0]))
      const files = Object.fromEntries(names.filter((name) => !directories.has(name)).map((name) => [name, name]))
      yield* change(folder, files)
      expect(yield* contentOf(folder)).toEqual(files)
    })
  )

  it.scoped("removes what a crash left of a change, and tells of what it did not write", () =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      yield* change(folder, { "t/a": "whole" })
      yield* Effect.promise(async () => {
        await fs.writeFile(join(path, "t", ".a.tmp"), "hal")
        await fs.writeFile(join(path, ".b.tmp"), "")
        await fs.writeFile(join(path, ".hidden"), "")
        await fs.writeFile(join(path, "t", "Capital"), "")
        await fs.writeFile(join(path, "spa ce"), "")
        await fs.mkdir(join(path, "t", "deeper"))
      })
      const { files, strangers } = yield* folder.read
      expect([...files.keys()]).toEqual(["t/a"])
      expect(strangers).toEqual([".hidden", "spa ce", "t/Capital", "t/deeper"].map((name) => join(path, name)))
      expect(yield* onDisk(path)).toEqual([".hidden", "spa ce", "t/Capital", "t/a"])
    })
  )

  it.scoped("keeps the old version when the new one cannot be written, and goes on afterwards", () =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      yield* change(folder, { a: "old" })
      yield* Effect.promise(() => fs.mkdir(join(path, ".a.tmp")))
      const error = yield* Effect.flip(change(folder, { a: "new" }))
      expect(error).toMatchObject({ _tag: "StorageIo", path, message: expect.stringContaining("EISDIR") })
      yield* Effect.promise(() => fs.rmdir(join(path, ".a.tmp")))
      expect(yield* contentOf(folder)).toEqual({ a: "old" })
      yield* change(folder, { a: "new" })
      expect(yield* contentOf(folder)).toEqual({ a: "new" })
    })
  )

  it.scoped("makes changes in the order in which they were asked for", () =>
    Effect.gen(function* () {
      const { folder } = yield* opened
      const contents = Array.from({ length: 20 }, (_, n) => (n % 3 === 0 ? null : `${n}`))
      yield* Effect.forEach(contents, (content) => change(folder, { "t/a": content }), { concurrency: "unbounded" })
      expect(yield* contentOf(folder)).toEqual({ "t/a": "19" })
    })
  )

  it.scoped("removes everything below a part, and nothing beside it", () =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      yield* change(folder, { "t/a": "1", "t/b": "2", "tt/a": "3", "T/a": "4" })
      yield* Effect.promise(() => fs.writeFile(join(path, "t", "not ours"), ""))
      yield* folder.removeBelow("t")
      yield* folder.removeBelow("nobody")
      expect(yield* contentOf(folder)).toEqual({ "T/a": "4", "tt/a": "3" })
      expect(yield* onDisk(path)).toContain("t/not ours")
    })
  )

  it.scoped.each([
    "",
    ".",
    "..",
    "../a",
    "/a",
    "a/",
    "a/../b",
    "a/b/c",
    "a b",
    "ä",
    ".a",
    "a/.b",
    "a\0",
    "a\n",
    "x".repeat(101)
  ])("refuses the name %j", (name) =>
    Effect.gen(function* () {
      const { path, folder } = yield* opened
      expect(Folder.isFileName(name)).toBe(false)
      expect(Exit.isFailure(yield* Effect.exit(change(folder, { fine: "1", [name]: "x" })))).toBe(true)
      expect(Exit.isFailure(yield* Effect.exit(folder.removeBelow(name)))).toBe(true)
      expect(yield* onDisk(path)).toEqual([])
    })
  )

  it.scoped("is opened in the data directory by its name", () =>
    Effect.gen(function* () {
      const path = yield* temporaryDirectory
      const data = yield* DataDirectory.make(path)
      const folder = yield* data.folder("scripts")
      expect(folder.path).toBe(join(path, "scripts"))
      expect(Exit.isFailure(yield* Effect.exit(data.folder("../scripts")))).toBe(true)
    })
  )

  it.scopedLive(
    "holds whole files after each of 2 kills in the middle of changes, none older than what was said to be on disk",
    () =>
      Effect.gen(function* () {
        const path = join(yield* temporaryDirectory, "files")
        let last = 0
        for (let kill = 0; kill < 2; kill++) {
          const reported = yield* Effect.promise(() =>
            untilKilled("ChangeForEver", path, last + 1, 1 + ((kill * 5) % 7))
          )
          const { files } = yield* (yield* Folder.open(path)).read
          for (const [name, content] of files) {
            const version = Number.parseInt(Buffer.from(content).toString(), 10)
            expect(content).toEqual(versionContent(version))
            if (!name.startsWith("t/only")) expect(version).toBeGreaterThanOrEqual(reported)
            last = Math.max(last, version)
          }
          expect([...files.keys()]).toEqual(expect.arrayContaining(["a", "t/b"]))
          // One that was said to be gone has not come back, unless the next change had begun to write it.
          const gone = files.get(`t/only-${(reported + 1) % 2}`)
          if (gone !== undefined) expect(gone).toEqual(versionContent(reported + 1))
        }
      }),
    90_000 // ms; two processes are started, one after the other
  )
})
