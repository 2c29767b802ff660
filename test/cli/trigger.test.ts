/** `mimosa trigger …` and its neighbours against a served process. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, expect, it } from "vitest"
import { version } from "../../src/version.ts"
import { describeWith } from "../servers/describeWith.ts"
import { redisCli } from "../servers/Redis.ts"
import { describeBuilt, mimosa, type RunOptions, type Served, serve, temporaryFolder } from "./Mimosa.ts"

describeBuilt("mimosa trigger", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let served: Served
  beforeAll(async () => {
    folder = await temporaryFolder()
    served = await serve(folder.path)
  })
  afterAll(async () => {
    await served.stop()
    await folder.remove()
  })

  const trigger = (args: readonly string[], options?: RunOptions) =>
    mimosa(["trigger", ...args, "--port", String(served.port)], options)
  const named: string[] = []
  const set = async (name: string, ...args: readonly string[]) => {
    named.push(name)
    return trigger(["set", name, ...args])
  }
  afterEach(async () => {
    for (const name of named.splice(0)) await trigger(["remove", name])
  })

  it("registers a source from the command line, with its limits", async () => {
    const source = "-- two dashes first\nreturn event.key"
    const limits = ["--timeout", "200", "--memory", "4096", "--priority", "-5"]
    const { code, stdout } = await set("a", "a:*", "ON_WRITE,ON_READ", ...limits, "--source", source)
    expect([code, stdout]).toEqual([0, "a is active on a:* for ON_WRITE,ON_READ\n"])
    const { stdout: info } = await trigger(["info", "a", "--json"])
    expect(JSON.parse(info)).toMatchObject({
      name: "a",
      pattern: "a:*",
      events: "ON_WRITE,ON_READ",
      status: "active",
      priority: -5,
      timeout_us: 200,
      memory_bytes: 4096,
      source
    })
  })

  it("registers a source from a file, and from stdin", async () => {
    const file = join(folder.path, "from-file.lua")
    await writeFile(file, "return 'é'\n")
    await set("file", "f:*", "ON_DELETE", "--file", file)
    named.push("stdin")
    await trigger(["set", "stdin", "s:*", "ON_EVICT"], { stdin: "return 2\n" })
    const sources = await Promise.all(
      ["file", "stdin"].map(async (name) => JSON.parse((await trigger(["info", name, "--json"])).stdout).source)
    )
    expect(sources).toEqual(["return 'é'\n", "return 2\n"])
  })

  it("says in one line what is wrong with a source, a pattern, an event or a file, and registers nothing", async () => {
    const attempts = [
      await set("bad", "x", "ON_WRITE", "--source", "return return"),
      await set("bad", "a[b", "ON_WRITE", "--source", "return 1"),
      await set("bad", "x", "ON_WIRTE", "--source", "return 1"),
      await set("bad", "x", "ON_WRITE", "--file", "/no/such.lua"),
      await set("bad", "x", "ON_WRITE", "--file", "a.lua", "--source", "return 1"),
      await set("bad", "x", "ON_WRITE", "--source", "")
    ]
    for (const { code, stdout } of attempts) expect([code, stdout]).toEqual([1, ""])
    expect(attempts.map(({ stderr }) => stderr)).toEqual([
      "mimosa: trigger: source: bad:1:8: unexpected symbol near 'return'\n",
      "mimosa: trigger: pattern: pattern 'a[b' has a '[' at offset 1 that is never closed; use an exact key, a prefix that ends in '*', or a glob of * ? [ab] [^a-z]\n",
      "mimosa: trigger: events: 'ON_WIRTE' is none of ON_WRITE, ON_READ, ON_DELETE, ON_EXPIRE, ON_EVICT, ON_FLUSH, ON_TOUCH, BEFORE_WRITE, BEFORE_DELETE\n",
      "mimosa: --file /no/such.lua cannot be read: ENOENT: no such file or directory, open '/no/such.lua'\n",
      "mimosa: give --file or --source, not both\n",
      "mimosa: trigger: source: is empty\n"
    ])
    expect((await trigger(["list"])).stdout).toMatch(/^no triggers; /)
  })

  it("lists triggers as a table, and by a glob", async () => {
    await set("one", "a:*", "ON_WRITE", "--source", "return 1")
    await set("two", "b:*", "ON_READ", "--source", "return 1", "--priority", "7")
    expect((await trigger(["list"])).stdout).toBe(
      [
        "NAME  PATTERN  EVENTS    STATUS  PRIORITY  RUNS  ERRORS",
        "one   a:*      ON_WRITE  active  0         0     0",
        "two   b:*      ON_READ   active  7         0     0",
        ""
      ].join("\n")
    )
    expect(JSON.parse((await trigger(["list", "t*", "--json"])).stdout)).toMatchObject([{ name: "two" }])
  })

  it("tries a source without any consequence", async () => {
    const source = "cache.set('copy', event.value); cache.emit('seen', event.old_value); return { n = 1 }"
    const event = ["ON_WRITE", "k", "new", "--old", "before", "--meta", '{"by":"me"}']
    const { code, stdout } = await trigger(["test", ...event, "--source", source, "--json"])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      status: "ok",
      result: { n: 1 },
      error: null,
      writes: [{ key: "copy", value: "new" }],
      emits: [{ channel: "seen", payload: "before" }],
      webhooks: []
    })
    expect(await trigger(["test", "copy", "ON_WRITE", "k", "v"])).toMatchObject({
      code: 1,
      stderr: "mimosa: trigger: no trigger is named 'copy'\n"
    })
  })

  it("tries a registered trigger, and shows why it fails", async () => {
    await set("strict", "k", "ON_WRITE", "--source", "error('no ' .. event.value)")
    const { stdout } = await trigger(["test", "strict", "ON_WRITE", "k", "-1"])
    expect(stdout).toMatch(/^status +error\nerror +line 1: no -1\nfuel +\d+\nbytes +\d+\nus +[\d.]+\n$/)
  })

  it("refuses a test of both a name and a source", async () => {
    const { code, stderr } = await trigger(["test", "a", "ON_WRITE", "k", "v", "--source", "return 1"])
    expect([code, stderr]).toEqual([1, "mimosa: give either the name of a trigger, or --file or --source\n"])
  })

  it("removes a trigger, and says when there was none", async () => {
    await set("gone", "g", "ON_WRITE", "--source", "return 1")
    expect(await trigger(["remove", "gone"])).toMatchObject({ code: 0, stdout: "gone is removed\n" })
    expect(await trigger(["remove", "gone"])).toMatchObject({
      code: 1,
      stderr: "mimosa: no trigger is named 'gone'\n"
    })
  })

  it("runs the very version that is tested", () => {
    expect(served.welcome).toContain(`Mimosa ${version} is ready`)
  })

  describeWith(["redis-cli"])("with events from redis-cli", () => {
    it("shows what failed in the log, and the runs in the list", async () => {
      await set("boom", "log:*", "ON_WRITE", "--source", "error('boom ' .. event.key)")
      expect(await redisCli(served.port, ["SET", "log:1", "v"])).toBe("OK\n")
      expect((await trigger(["log"])).stdout).toMatch(
        /^TIME +TRIGGER +EVENT +KEY +KIND +MESSAGE\n\S+Z +boom +ON_WRITE +log:1 +error +line 1: boom log:1\n$/
      )
      expect(JSON.parse((await trigger(["log", "1", "--json"])).stdout)).toMatchObject([
        { trigger: "boom", key: "log:1", kind: "error", message: "line 1: boom log:1" }
      ])
      expect(JSON.parse((await trigger(["list", "--json"])).stdout)).toMatchObject([
        { name: "boom", runs: 1, errors: 1 }
      ])
    })
  })
})
