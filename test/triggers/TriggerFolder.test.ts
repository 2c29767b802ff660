/** Folders of trigger files: what is read out of them, and the plan that brings a server there. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { isDone, plan, read, TriggerFolderError } from "../../src/triggers/TriggerFolder.ts"
import { runTest } from "../../src/triggers/TriggerTest.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "mimosa-folder-"))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const front = "-- match: k:*\n-- on: ON_WRITE\n"

const put = async (files: Readonly<Record<string, string | Buffer>>) => {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
}

const readAll = async () => {
  const { files, errors } = await read(folder)
  const relative = (text: string) => text.replaceAll(`${folder}/`, "")
  return {
    names: files.map(({ file, definition }) => [relative(file), definition.name]),
    errors: errors.map(({ message }) => relative(message))
  }
}

const registeredIn = ({ registry }: Engine) => Array.from(registry.all(), ({ definition }) => definition)

describe("a folder", () => {
  it("is read with the folders in it, in the order of paths, without what is hidden or no Lua", async () => {
    await put({
      "b.lua": `${front}return 1`,
      "a/z.lua": `-- name: a.z\n${front}return 1`,
      "README.md": "no Lua",
      ".hidden.lua": "no Lua",
      ".git/a.lua": "no Lua"
    })
    await symlink(join(folder, "README.md"), join(folder, "c.lua"))
    await put({ "README.md": `-- name: linked\n${front}return 1` })
    expect(await readAll()).toEqual({
      names: [
        ["a/z.lua", "a.z"],
        ["b.lua", "b"],
        ["c.lua", "linked"]
      ],
      errors: []
    })
  })

  it("tells of everything that is wrong with its files, and reads the others", async () => {
    await put({
      "bad.lua": "-- match: k\nreturn 1",
      "big.lua": `${front}${"-".repeat(64 * 1024)}`,
      "fine.lua": `${front}return 1`,
      "latin.lua": Buffer.from(`${front}return '\xfc'`, "latin1"),
      "other.lua": `-- name: fine\n${front}return 1`,
      "syntax.lua": `${front}local x = = 1`
    })
    expect(await readAll()).toEqual({
      names: [["fine.lua", "fine"]],
      errors: [
        "bad.lua:1: the comment that a trigger's file begins with says '-- on: ON_EXPIRE'; this one does not",
        expect.stringMatching(/^big\.lua:1: it has 655\d\d bytes; 65536 are allowed$/),
        "latin.lua:1: it is not UTF-8",
        "other.lua:1: name: 'fine' is the name of fine.lua already",
        expect.stringMatching(/^syntax\.lua:3: column 11: unexpected symbol near '='$/)
      ]
    })
  })

  it("may be one file", async () => {
    await put({ "a.lua": `${front}return 1`, "b.lua": `${front}return 1` })
    const { files, errors, isFolder } = await read(join(folder, "b.lua"))
    expect([files.map(({ definition }) => definition.name), errors, isFolder]).toEqual([["b"], [], false])
    expect((await read(folder)).isFolder).toBe(true)
  })

  it("that is none, or has no Lua in it, is refused", async () => {
    await expect(read(folder)).rejects.toThrow(`${folder} has no .lua file in it`)
    const missing = join(folder, "missing")
    await expect(read(missing)).rejects.toThrow(TriggerFolderError)
    await expect(read(missing)).rejects.toThrow(`${missing} cannot be read: ENOENT`)
  })
})

describe("a plan", () => {
  const filesOf = async (files: Readonly<Record<string, string>>) => {
    await rm(folder, { recursive: true })
    await put(files)
    const { files: read_, errors } = await read(folder)
    expect(errors).toEqual([])
    return read_
  }

  it("creates what is new, changes what differs, and leaves what is the same", async () => {
    const engine = makeEngine()
    const before = await filesOf({
      "changed.lua": `${front}-- timeout: 50\nlocal a = 1\nreturn a`,
      "same.lua": `${front}return 1`
    })
    for (const { definition } of before) engine.trigger(definition)
    const files = await filesOf({
      "changed.lua": `${front}-- timeout: 60\n-- failclosed: false\nlocal a = 2\nreturn a`,
      "new.lua": `${front}return 1`,
      "same.lua": `${front}return 1`
    })
    const made = plan(files, registeredIn(engine), { prune: false })
    expect(made).toMatchObject({
      create: [{ definition: { name: "new" } }],
      change: [{ file: { definition: { name: "changed" } }, fields: [{ field: "timeout", was: "50", is: "60" }] }],
      unchanged: [{ definition: { name: "same" } }],
      remove: [],
      keep: []
    })
    expect(made.change[0]?.source.map((line) => line.join(""))).toEqual([
      " -- match: k:*",
      " -- on: ON_WRITE",
      "--- timeout: 50",
      "-local a = 1",
      "+-- timeout: 60",
      "+-- failclosed: false",
      "+local a = 2",
      " return a"
    ])
    expect(isDone(made)).toBe(false)
  })

  it("names each field that differs, as the front matter has it", async () => {
    const engine = makeEngine()
    const text = (options: string) => ({ "t.lua": `-- match: k*\n-- on: ON_WRITE, ON_DELETE\n${options}return 1` })
    const [file] = await filesOf(text(""))
    if (file === undefined) throw new Error("no file")
    engine.trigger(file.definition)
    const changed = await filesOf({
      "t.lua":
        "-- match: l*\n-- on: BEFORE_WRITE, ON_DELETE\n-- memory: 4096\n-- priority: 1\n-- when: changed\n-- sample: 2\n" +
        "-- include: flush\n-- scope: local\n-- failclosed\n-- isolate\n-- disabled\nreturn 1"
    })
    const made = plan(changed, registeredIn(engine), { prune: false })
    expect(made.change[0]?.fields.map(({ field, was, is }) => `${field}: ${was} -> ${is}`)).toEqual([
      "match: k* -> l*",
      "on: ON_WRITE, ON_DELETE -> ON_DELETE, BEFORE_WRITE",
      "memory: 65536 -> 4096",
      "priority: 0 -> 1",
      "when: any write -> changed",
      "sample: 1 -> 2",
      "include: nothing -> flush",
      "scope: all -> local",
      "failclosed: false -> true",
      "isolate: false -> true",
      "disabled: false -> true"
    ])
  })

  it("has nothing to do once it was applied", async () => {
    const engine = makeEngine()
    const files = await filesOf({
      "a.lua": `${front}-- disabled\nreturn 1`,
      "b.lua": `\uFEFF${front}-- sample: 3\r\nreturn "ü"\r\n`
    })
    for (const { definition } of files) engine.trigger(definition)
    const again = plan(files, registeredIn(engine), { prune: true })
    expect(again.unchanged).toHaveLength(2)
    expect(isDone(again)).toBe(true)
  })

  it("removes what only the server has when it is to prune, and else tells of it", async () => {
    const engine = makeEngine()
    engine.trigger({ name: "theirs", source: "return 1" })
    const files = await filesOf({ "ours.lua": `${front}return 1` })
    const registered = registeredIn(engine)
    expect(plan(files, registered, { prune: true })).toMatchObject({ remove: ["theirs"], keep: [] })
    expect(plan(files, registered, { prune: false })).toMatchObject({ remove: [], keep: ["theirs"] })
  })
})

describe("examples/lua/triggers", async () => {
  const { files, errors } = await read(fileURLToPath(new URL("../../examples/lua/triggers", import.meta.url)))

  it("are the field's use cases, and nothing is wrong with any", () => {
    expect(errors).toEqual([])
    expect(files.map(({ definition }) => definition.name)).toEqual([
      "audit-deletes",
      "delayed-task",
      "eviction-monitor",
      "inventory-pages",
      "persist-on-evict",
      "price-guard",
      "rate-limit-compliance",
      "sensitive-reads",
      "session-ended"
    ])
  })

  it.each(files.map((file) => [file.definition.name, file] as const))("%s does what its tests say", (_, file) => {
    expect(file.tests.length).toBeGreaterThan(0)
    for (const test of file.tests) expect([test.title, runTest(file.definition, test)]).toEqual([test.title, []])
  })

  it.each(files.map((file) => [file.definition.name, file] as const))(
    "%s has tests that notice when it does nothing",
    (_, file) => {
      const idle = { ...file.definition, source: "return nil" }
      expect(file.tests.some((test) => runTest(idle, test).length > 0)).toBe(true)
    }
  )
})
