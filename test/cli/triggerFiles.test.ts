/** `mimosa trigger apply|diff|test` with a folder, against a served process. */
import { mkdir, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "./Mimosa.ts"

const examples = fileURLToPath(new URL("../../examples/lua/triggers", import.meta.url))

describeBuilt("mimosa trigger with a folder", () => {
  let data: Awaited<ReturnType<typeof temporaryFolder>>
  let folder: string
  let served: Served
  beforeAll(async () => {
    data = await temporaryFolder()
    folder = join(data.path, "triggers")
    served = await serve(join(data.path, "data"))
  })
  afterAll(async () => {
    await served.stop()
    await data.remove()
  })
  beforeEach(async () => {
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder)
  })

  const trigger = (...args: readonly string[]) => mimosa(["trigger", ...args, "--port", String(served.port)])
  const names = async (): Promise<string[]> =>
    JSON.parse((await trigger("list", "--json")).stdout).map(({ name }: { name: string }) => name)
  const put = (name: string, text: string) => writeFile(join(folder, name), text)
  /** What was printed, without the folder's own path. */
  const printed = (text: string) => text.replaceAll(`${folder}/`, "")

  it("creates what the files say, once, and then has nothing to do", async () => {
    await put(
      "a.lua",
      "-- match: a:*\n-- on: ON_WRITE\n-- when: changed\n-- sample: 2\n-- scope: local\n-- isolate\nreturn 'ü'\n"
    )
    await put(
      "b.lua",
      "-- match: b:*\n-- on: BEFORE_WRITE, ON_WRITE, ON_DELETE\n-- failclosed\n-- include: fill, flush\n-- disabled\nreturn 2\n"
    )
    const dry = await trigger("apply", folder, "--dry-run")
    expect([dry.code, printed(dry.stdout)]).toEqual([
      0,
      "+ a  ON_WRITE of a:*  (a.lua)\n+ b  ON_WRITE, ON_DELETE, BEFORE_WRITE of b:*  (b.lua)\n2 to create, 0 to change, 0 to remove, 0 unchanged\n"
    ])
    expect(await trigger("apply", folder)).toMatchObject({
      code: 1,
      stderr: "mimosa: nobody can be asked here: --yes applies it, --dry-run only shows it\n"
    })
    expect(await names()).toEqual([])
    expect((await trigger("apply", folder, "--yes")).stdout).toMatch(/applied\n$/)
    const { code, stdout } = await trigger("apply", folder, "--yes")
    expect([code, stdout]).toEqual([0, "0 to create, 0 to change, 0 to remove, 2 unchanged\n"])
    expect(JSON.parse((await trigger("info", "b", "--json")).stdout)).toMatchObject({ status: "disabled" })
  })

  it("shows where triggers would go round in circles before it is asked for", async () => {
    await put("a.lua", "-- match: a:*\n-- on: ON_WRITE\ncache.set('b:1', 1)\n")
    await put("b.lua", "-- match: b:*\n-- on: ON_WRITE\ncache.set('a:1', 1)\n")
    const { stdout } = await trigger("apply", folder, "--dry-run")
    expect(stdout).toMatch(/\ncycle: a → b → a; a cascade runs each once for a key\n$/)
    expect(JSON.parse((await trigger("apply", folder, "--dry-run", "--json")).stdout)).toMatchObject({
      cycles: [["a", "b"]]
    })
  })

  it("shows what has changed, changes it, and removes what no file says when it is asked to", async () => {
    await put("a.lua", "-- name: c\n-- match: a:*\n-- on: ON_WRITE\n-- sample: 2\nreturn 'ü'\n")
    await trigger("apply", folder, "--prune", "--yes")
    await put("a.lua", "-- name: c\n-- match: a:*\n-- on: ON_WRITE\nreturn 'ö'\n")
    const differs = await trigger("diff", folder)
    expect([differs.code, printed(differs.stdout)]).toEqual([
      1,
      [
        "~ c  (a.lua)",
        "    sample: 2 -> 1",
        "    … 1 line as before",
        "      -- match: a:*",
        "      -- on: ON_WRITE",
        "    - -- sample: 2",
        "    - return 'ü'",
        "    + return 'ö'",
        "",
        "0 to create, 1 to change, 0 to remove, 0 unchanged",
        ""
      ].join("\n")
    ])
    expect(differs.stderr).toBe("mimosa: the server differs from the folder; mimosa trigger apply brings it there\n")

    await put("a.lua", "-- name: d\n-- match: a:*\n-- on: ON_WRITE\nreturn 1\n")
    expect(printed((await trigger("apply", folder, "--yes")).stdout)).toBe(
      "+ d  ON_WRITE of a:*  (a.lua)\n  1 on the server alone (--verbose lists them)\n1 to create, 0 to change, 0 to remove, 0 unchanged\napplied\n"
    )
    expect(printed((await trigger("diff", folder, "--verbose")).stdout)).toBe(
      "  c  is on the server alone; --prune removes it\n0 to create, 0 to change, 0 to remove, 1 unchanged\n"
    )
    expect(JSON.parse((await trigger("diff", folder, "--prune", "--json")).stdout)).toEqual({
      create: [],
      change: [],
      unchanged: ["d"],
      remove: ["c"],
      keep: [],
      cycles: []
    })
    await trigger("apply", folder, "--prune", "--yes")
    expect(await names()).toEqual(["d"])
  })

  it("changes nothing when a file cannot be used", async () => {
    const before = await names()
    await put("bad.lua", "-- match: a\n-- on: ON_WRITE\nreturn = 1\n")
    await put("fine.lua", "-- match: a\n-- on: ON_WRITE\nreturn 1\n")
    const { code, stderr } = await trigger("apply", folder, "--yes")
    expect([code, printed(stderr)]).toEqual([
      1,
      "mimosa: nothing was compared or changed, because of:\nbad.lua:3: column 8: unexpected symbol near '='\n"
    ])
    expect(await names()).toEqual(before)
    expect(await trigger("diff", join(folder, "none"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^mimosa: \S+\/none cannot be read: ENOENT/)
    })
  })

  it("applies nothing that fails its own tests, unless it is told to", async () => {
    const tested = "-- test: it emits\n-- given: ON_WRITE f:1 v\n-- expect: emit news v\n"
    await put("f.lua", `-- match: f:*\n-- on: ON_WRITE\ncache.emit("other", "v")\n${tested}`)
    const { code, stdout, stderr } = await trigger("apply", folder, "--yes")
    expect([code, stdout, printed(stderr)]).toEqual([
      1,
      "",
      [
        "mimosa: nothing was compared or changed, because of tests that fail (--no-test skips them):",
        "FAIL  f.lua  it emits",
        "      line 6 expects  emit news v",
        "      but there was  emit other v",
        ""
      ].join("\n")
    ])
    expect(await names()).not.toContain("f")
    expect((await trigger("apply", folder, "--yes", "--no-test")).code).toBe(0)
    expect(await names()).toContain("f")
  })

  it("takes one file in the place of a folder, and prunes nothing then", async () => {
    await put(
      "one.lua",
      "-- match: one\n-- on: ON_WRITE\nreturn 1\n-- test: t\n-- given: ON_WRITE one 1\n-- expect: return 1\n"
    )
    await put("two.lua", "-- match: two\n-- on: ON_WRITE\nreturn 1\n")
    const file = join(folder, "one.lua")
    expect(printed((await mimosa(["trigger", "test", file])).stdout)).toBe(
      "ok    one.lua  t\n1 of 1 tests passed, in 1 files\n"
    )
    const before = await names()
    const { code, stderr } = await trigger("apply", file, "--yes", "--prune")
    expect([code, printed(stderr)]).toEqual([
      1,
      "mimosa: --prune takes a folder; one.lua is one file, and all others would go\n"
    ])
    expect((await trigger("apply", file, "--yes")).code).toBe(0)
    expect((await names()).toSorted()).toEqual([...before, "one"].toSorted())
    expect((await trigger("diff", file)).code).toBe(0)
  })

  it("takes the examples as they are", async () => {
    expect((await trigger("apply", examples, "--yes")).code).toBe(0)
    expect(await trigger("diff", examples)).toMatchObject({ code: 0, stderr: "" })
  })

  it("tests the examples without a server", async () => {
    const { code, stdout, stderr } = await mimosa(["trigger", "test", examples])
    expect([code, stderr]).toEqual([0, ""])
    expect(stdout).toMatch(/\n22 of 22 tests passed, in 9 files\n$/)
  })

  it("ends with 1 when a test fails, and shows what there was", async () => {
    const test = "-- test: it emits\n-- given: ON_WRITE k v\n-- expect: emit news hello\n-- expect: no logs\n"
    await put(
      "t.lua",
      `-- match: k\n-- on: ON_WRITE\ncache.emit("news", event.value)\nprint("a") cache.log("s", "b")\n${test}`
    )
    await put("untested.lua", "-- match: k\n-- on: ON_WRITE\nreturn 1\n")
    const { code, stdout, stderr } = await mimosa(["trigger", "test", folder])
    expect([code, stderr]).toEqual([1, "mimosa: 1 of 1 tests failed\n"])
    expect(printed(stdout)).toBe(
      [
        "FAIL  t.lua  it emits",
        "      line 7 expects  emit news hello",
        "      but there was  emit news v",
        "      line 8 expects  no logs",
        "      but there was  1 log",
        "                     log s b",
        "none  untested.lua  has no test",
        "0 of 1 tests passed, in 2 files",
        ""
      ].join("\n")
    )
    expect(JSON.parse((await mimosa(["trigger", "test", folder, "--json"])).stdout)).toMatchObject({
      results: [{ title: "it emits", line: 5, failures: [{ line: 7 }, { line: 8 }] }],
      problems: []
    })
  })

  it("refuses words that are neither a folder nor an event", async () => {
    expect(await mimosa(["trigger", "test", "a", "ON_WRITE"])).toMatchObject({
      code: 1,
      stderr:
        "mimosa: mimosa trigger test takes a folder alone, or [name] <EVENT> <key> <value>, or [name] with --history <n>\n"
    })
  })
})
