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
  const at = () => ["--port", String(served.port)]
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

  it("acts as a tenant where one is named: its triggers, and what they log, are nobody else's", async () => {
    const shell = (...lines: readonly string[]) =>
      mimosa(["shell", "--port", String(served.port)], { stdin: lines.join("\n") })
    await shell("TENANT CREATE shop", "TENANT CREATE other")
    const source = "cache.log('audit', event.key) error('no')"
    const own = await trigger(["set", "seen", "user:*", "ON_WRITE", "--tenant", "shop", "--source", source])
    expect([own.code, own.stdout]).toEqual([0, "seen is active on user:* for ON_WRITE\n"])
    await trigger([
      "set",
      "kept",
      "user:*",
      "ON_WRITE",
      "--tenant",
      "shop",
      "--source",
      "cache.log('audit', event.key)"
    ])
    await shell("SET shop:user:1 a", "SET user:2 b")
    const shown = async (...args: readonly string[]) => JSON.parse((await mimosa([...args, "--json", ...at()])).stdout)
    expect(await shown("trigger", "list", "--tenant", "shop")).toMatchObject([{ name: "seen" }, { name: "kept" }])
    expect(await shown("trigger", "log", "--tenant", "shop")).toMatchObject([{ trigger: "seen", key: "user:1" }])
    expect(await shown("logs", "audit", "--tenant", "shop")).toMatchObject([{ message: "user:1", trigger: "kept" }])
    for (const whose of [["--tenant", "other"], []]) {
      expect(await shown("trigger", "list", ...whose)).toEqual([])
      expect(await shown("trigger", "log", ...whose)).toEqual([])
      expect(await shown("logs", ...whose)).toEqual([])
    }
    const nobody = await trigger(["list", "--tenant", "nobody"])
    expect([nobody.code, nobody.stderr]).toEqual([1, "mimosa: NOTENANT no tenant has the id 'nobody'\n"])
    expect((await trigger(["remove", "kept", "--tenant", "shop"])).stdout).toBe("kept is removed\n")
    await shell("DEL user:2", "TENANT DEL shop", "TENANT DEL other")
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

  it("warns where the trigger that is tried would not run on such an event", async () => {
    await set("foos", "foo:*", "ON_WRITE", "--source", "return 1")
    expect((await trigger(["test", "foos", "ON_WRITE", "bar:1", "x"])).stdout).toMatch(
      /^warning +bar:1 is not matched by foo:\*; this trigger would not run$/m
    )
    expect((await trigger(["test", "foos", "ON_WRITE", "foo:1", "x"])).stdout).not.toContain("warning")
  })

  it("tries another source in a trigger's place, with its limits", async () => {
    await set("limited", "k", "ON_WRITE", "--source", "return 1", "--timeout", "10")
    const source = ["--source", "local n = 0 for i = 1, 1e5 do n = n + i end return n"]
    const { stdout } = await trigger(["test", "limited", "ON_WRITE", "k", "v", ...source, "--json"])
    expect(JSON.parse(stdout)).toMatchObject({ status: "timeout" })
  })

  it("removes a trigger, and says when there was none", async () => {
    await set("gone", "g", "ON_WRITE", "--source", "return 1")
    expect(await trigger(["remove", "gone"])).toMatchObject({ code: 0, stdout: "gone is removed\n" })
    expect(await trigger(["remove", "gone"])).toMatchObject({
      code: 1,
      stderr: "mimosa: no trigger is named 'gone'; mimosa trigger list shows those that are\n"
    })
  })

  it("takes every option of a trigger", async () => {
    const events = "BEFORE_WRITE,ON_WRITE,ON_DELETE"
    const options = "--when changed --sample 3 --include fill,flush --scope local --failclosed --isolate".split(" ")
    await set("all", "*", events, "--source", "return", ...options)
    expect(JSON.parse((await trigger(["info", "all", "--json"])).stdout)).toMatchObject({
      events: "ON_WRITE,ON_DELETE,BEFORE_WRITE",
      options: "WHEN CHANGED SAMPLE 3 INCLUDE fill INCLUDE flush SCOPE local FAILCLOSED ISOLATE"
    })
    const { stdout } = await set("off", "*", "ON_WRITE", "--source", "return", "--disabled")
    expect(stdout).toBe("off is disabled; mimosa trigger enable off has it run\n")
  })

  it("registers under a name that is made from pattern and events", async () => {
    const { stdout } = await trigger(["register", "made:*", "ON_EXPIRE"], { stdin: "return event.key" })
    named.push("made:_all:ON_EXPIRE")
    expect(stdout).toBe("made:_all:ON_EXPIRE is active on made:* for ON_EXPIRE\n")
  })

  it("disables a trigger, and enables it again", async () => {
    await set("onoff", "o", "ON_WRITE", "--source", "return 1")
    const said = [await trigger(["disable", "onoff"]), await trigger(["enable", "onoff"])]
    expect(said.map(({ stdout }) => stdout)).toEqual([
      "onoff is disabled; mimosa trigger enable onoff has it run\n",
      "onoff is active on o for ON_WRITE\n"
    ])
    expect(await trigger(["enable", "nobody"])).toMatchObject({
      code: 1,
      stderr: "mimosa: trigger: no trigger is named 'nobody'\n"
    })
  })

  it("shows the versions that are kept, and goes back to them", async () => {
    await set("v", "v", "ON_WRITE", "--source", "\n-- first\nreturn 1")
    await set("v", "v", "ON_WRITE", "--source", "return 2", "--priority", "9")
    const lines = (await trigger(["versions", "v"])).stdout.split("\n")
    expect(lines[0]).toMatch(/^VERSION +REGISTERED +PRIORITY +TIMEOUT_US +MEMORY_BYTES +OPTIONS +LINES +BEGINS WITH$/)
    expect(lines[1]).toMatch(/^2 +live +\S+Z +9 +100 +65536 +1 +return 2$/)
    expect(lines[2]).toMatch(/^1 +\S+Z +0 +100 +65536 +3 +-- first$/)
    expect((await trigger(["rollback", "v"])).stdout).toBe("v runs version 1 again\n")
    expect(JSON.parse((await trigger(["info", "v", "--json"])).stdout)).toMatchObject({ version: 1, versions: [1, 2] })
    expect(JSON.parse((await trigger(["rollback", "v", "2", "--json"])).stdout)).toEqual({ name: "v", version: 2 })
    expect(JSON.parse((await trigger(["versions", "v", "--json"])).stdout)).toMatchObject([
      { version: 2, live: true, source: "return 2" },
      { version: 1, live: false }
    ])
    expect((await trigger(["rollback", "v", "7"])).stderr).toBe(
      "mimosa: trigger: trigger 'v' has no version 7; there are 1, 2\n"
    )
    expect((await trigger(["rollback", "v", "x"])).stderr).toBe("mimosa: a version is a whole number, not 'x'\n")
  })

  it("runs a shadow beside a trigger, and drops or promotes it", async () => {
    await set("s", "s:*", "ON_WRITE", "--source", "return 1")
    const without = await trigger(["shadow", "s"])
    expect([without.code, without.stderr]).toEqual([
      1,
      "mimosa: trigger 's' has no shadow; mimosa trigger shadow s --file new.lua makes one\n"
    ])
    const { code, stdout } = await trigger(["shadow", "s", "--file", "-", "--timeout", "50"], { stdin: "return 2" })
    expect([code, stdout]).toEqual([0, expect.stringContaining("all that it would do is dropped")])
    expect((await trigger(["shadow", "s"])).stdout).toMatch(/^ +RUNS +ERRORS .*\nlive +0 .*\nshadow +0 .*\n$/)
    const { shadow, source } = JSON.parse((await trigger(["info", "s", "--json"])).stdout)
    expect([source, shadow]).toMatchObject(["return 1", { source: "return 2", runs: 0, us_p99: 0 }])
    expect((await trigger(["shadow", "s", "drop"])).stdout).toBe("the shadow of s is gone\n")
    expect((await trigger(["shadow", "s", "drop"])).stderr).toBe("mimosa: trigger 's' has no shadow\n")
    await trigger(["shadow", "s", "--source", "return 3"])
    expect((await trigger(["shadow", "s", "promote"])).stdout).toBe("the shadow of s is now the live version\n")
    expect(JSON.parse((await trigger(["info", "s", "--json"])).stdout)).toMatchObject({
      source: "return 3",
      version: 2
    })
    expect((await trigger(["shadow", "s", "dorp"])).stderr).toBe(
      "mimosa: a shadow is set with --file or --source; 'dorp' is none of drop, promote\n"
    )
  })

  it("shows a graph of what sets off what, and warns of cycles when they are made", async () => {
    await set("ping", "ping:*", "ON_WRITE", "--source", "cache.set('pong:1', cache.get('limit'))")
    const { stdout, stderr } = await set("pong", "pong:*", "ON_WRITE", "--source", "cache.set('ping:1', 1)")
    expect(stdout).toBe("pong is active on pong:* for ON_WRITE\n")
    expect(stderr).toContain("mimosa: warning: pong sets itself off: 'pong' → 'ping' → 'pong'")
    expect((await trigger(["info", "pong"])).stdout).toMatch(/\nwarning +sets itself off: 'pong' → 'ping' → 'pong'/)
    const lines = [
      "ping  ON_WRITE of ping:*",
      "  reads     limit",
      "  writes    pong:1",
      "  sets off  pong (ON_WRITE: write of pong:1)",
      "",
      "pong  ON_WRITE of pong:*",
      "  writes    ping:1",
      "  sets off  ping (ON_WRITE: write of ping:1)",
      "",
      "cycle: ping → pong → ping; a cascade runs each once for a key",
      ""
    ]
    expect((await trigger(["graph"])).stdout).toBe(lines.join("\n"))
    expect(JSON.parse((await trigger(["graph", "--json"])).stdout)).toMatchObject({ cycles: [["ping", "pong"]] })
  })

  it("says which arguments a test takes", async () => {
    for (const args of [[], ["a", "b"], ["a", "--source", "return"]]) {
      expect((await trigger(["test", ...args])).stderr).toBe(
        "mimosa: mimosa trigger test takes a folder alone, or [name] <EVENT> <key> <value>, or [name] with --history <n>\n"
      )
    }
    expect((await trigger(["test", "a", "ON_WRITE", "k", "v", "--history", "3"])).stderr).toBe(
      "mimosa: --history takes the events that happened: leave out EVENT, key, value, --old and --meta\n"
    )
    expect((await trigger(["test", "--history", "3"])).stderr).toBe(
      "mimosa: give the name of a trigger, or --file or --source\n"
    )
  })

  it("runs the very version that is tested", () => {
    expect(served.welcome).toContain(`Mimosa ${version} is ready`)
  })

  describeWith(["redis-cli"])("with events from redis-cli", () => {
    it("shows what failed in the log, and the runs in the list", async () => {
      await set("boom", "log:*", "ON_WRITE", "--source", "error('boom ' .. event.key)")
      expect(await redisCli(served.port, ["SET", "log:1", "v"])).toBe("OK\n")
      expect((await trigger(["log"])).stdout).toMatch(
        /^TIME +TRIGGER +EVENT +KEY +KIND +COUNT +MESSAGE\n\S+Z +boom +ON_WRITE +log:1 +error +1 +line 1: boom log:1\n$/
      )
      expect(JSON.parse((await trigger(["log", "1", "--json"])).stdout)).toMatchObject([
        { trigger: "boom", key: "log:1", kind: "error", message: "line 1: boom log:1" }
      ])
      expect(JSON.parse((await trigger(["list", "--json"])).stdout)).toMatchObject([
        { name: "boom", runs: 1, errors: 1 }
      ])
      expect((await trigger(["info", "boom"])).stdout).toMatch(/\nfailed +error 1\n/)
    })

    it("shows which trigger was taken out, why, and when it is tried again", async () => {
      await set("shaky", "shaky", "ON_WRITE", "--source", "error('no')")
      await redisCli(served.port, [], "SET shaky v\n".repeat(101))
      const why = "failed more than 100 times within 10 s; it is probed by itself, or set in again by TRIGGER ENABLE"
      const { stdout } = await trigger(["list", "shaky"])
      expect(stdout).toMatch(/\nshaky +shaky +ON_WRITE +quarantined +0 +101 +101\n/)
      expect(stdout).toContain(`\nshaky is quarantined: it ${why}\n`)
      const { stdout: info } = await trigger(["info", "shaky"])
      expect(info).toMatch(/\nstatus +quarantined, version 1 since \S+Z\n/)
      expect(info).toContain(`\nquarantine  ${why}\nnext probe  after 2`)
      expect((await trigger(["enable", "shaky"])).stdout).toBe("shaky is active on shaky for ON_WRITE\n")
    })

    it("tries a trigger on the last events, and shows what another source would do otherwise", async () => {
      const source = "if tonumber(event.value) > 1 then cache.set('big', event.value) end"
      await set("h", "hist:*", "ON_WRITE", "--source", source)
      for (const value of ["1", "2", "3"]) await redisCli(served.port, ["SET", `hist:${value}`, value])
      const plain = (await trigger(["test", "h", "--history", "1000"])).stdout
      expect(plain).toMatch(/\d+ +ON_WRITE +hist:1 +nothing\n\d+ +ON_WRITE +hist:2 +set big "2"\n/)
      expect(plain).toMatch(/\nin sum +3 +0 +2 /)
      expect(plain).toMatch(/\n3 of the last \d+ events are for it\n$/)
      const other = source.replace("> 1", "> 2")
      const compared = (await trigger(["test", "h", "--history", "1000", "--source", other])).stdout
      expect(compared).toMatch(/NUMBER +EVENT +KEY +WOULD +THE RUNNING VERSION\n/)
      expect(compared).toMatch(/ON_WRITE +hist:2 +nothing +set big "2"\n/)
      expect(compared).toMatch(/ON_WRITE +hist:3 +set big "3" +the same\n/)
      expect(compared).toMatch(/\nrunning version +3 +0 +2 .*\ndifference +0 +0 +-1 /)
      expect(compared).toMatch(/; on 1 of them the running version does something else\n$/)
      const json = JSON.parse((await trigger(["test", "h", "--history", "2", "--source", other, "--json"])).stdout)
      expect(json).toMatchObject({
        matched: expect.any(Number),
        sum: { ok: expect.any(Number) },
        runs: expect.any(Array)
      })
      const many = ["--source", "for i = 1, 30 do cache.emit('x', i) end", "--history", "2"]
      const cut = (await trigger(["test", "h", ...many])).stdout
      expect(cut).toMatch(/\ncut: 10 of what it would do are counted and not listed\n$/)
      await redisCli(served.port, [], "SET hist:9 1\n".repeat(600))
      const endless = (await trigger(["test", "h", "--source", "while true do end", "--history", "1000"])).stdout
      expect(endless).toMatch(
        /\ncut: it was not tried on the oldest \d+, for which 50 ms of computing did not suffice\n$/
      )
      expect((await trigger(["test", "nobody", "--history", "2"])).stderr).toContain("no trigger is named 'nobody'")
    })
  })
})
