/** `mimosa logs` against a served process whose triggers log. */
import { afterAll, beforeAll, expect, it } from "vitest"
import { describeBuilt, mimosa, type Served, serve, start, temporaryFolder } from "./Mimosa.ts"

describeBuilt("mimosa logs", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let served: Served
  beforeAll(async () => {
    folder = await temporaryFolder()
    served = await serve(folder.path, ["--enable-debug-command"])
  })
  afterAll(async () => {
    await served.stop()
    await folder.remove()
  })

  const port = () => ["--port", String(served.port)]
  const shell = (...lines: readonly string[]) => mimosa(["shell", ...port()], { stdin: lines.join("\n") })
  const logs = (...args: readonly string[]) => mimosa(["logs", ...args, ...port()])

  it("shows the streams, the last lines of one, and what is logged from now on", async () => {
    expect((await logs()).stdout).toBe("nothing was logged yet; in a trigger: cache.log(stream, fields)\n")
    expect((await logs("audit")).stdout).toBe("no line in 'audit'; mimosa logs shows the streams\n")
    await shell(
      `TRIGGER SET audit 'user:*' ON_WRITE 'cache.log("audit", { who = event.key }) print("said\\x1b[2J")'`,
      ...["SET user:1 a", "SET user:2 b", "SET user:3 c"]
    )
    expect((await logs()).stdout).toMatch(
      /^STREAM +LINES +FIRST +LAST +DROPPED +LAST LINE\naudit +3 +1 +3 +0 +\S+Z\ndefault +3 +1 +3 +0 +\S+Z\n$/
    )
    expect((await logs("audit", "--count", "2")).stdout).toMatch(
      /^\S+Z {2}audit 2 {2}\{"who":"user:2"\} {2}\(audit, ON_WRITE user:2\)\n\S+Z {2}audit 3 .*\n$/
    )
    expect((await logs("default", "--count", "1")).stdout).toContain("  said\\x1b[2J  (audit, ON_WRITE user:3)")
    expect(JSON.parse((await logs("audit", "--json")).stdout)).toMatchObject([
      { number: 1, stream: "audit", fields: { who: "user:1" }, message: null, key: "user:1" },
      { number: 2 },
      { number: 3 }
    ])

    const following = start(["logs", "-f", "audit", "--count", "1", ...port()], {})
    let said = ""
    following.stdout.on("data", (chunk) => {
      said += chunk
    })
    await expect.poll(() => said, pollOptions).toContain('audit 3  {"who":"user:3"}')
    await shell("SET user:4 d")
    await expect.poll(() => said, pollOptions).toContain('audit 4  {"who":"user:4"}')
    expect(said.trimEnd().split("\n")).toHaveLength(2)

    // The listener crashes, with every connection; what is logged after that is shown by the connection that comes next.
    let complained = ""
    following.stderr.on("data", (chunk) => {
      complained += chunk
    })
    await shell("DEBUG CRASH listeners/resp/listener")
    await expect.poll(() => complained, pollOptions).toMatch(/^mimosa: .*; waiting for a server\n$/)
    await expect.poll(async () => (await shell("SET user:5 e")).code, pollOptions).toBe(0)
    await expect.poll(() => said, pollOptions).toContain('audit 5  {"who":"user:5"}')
    expect(said.trimEnd().split("\n")).toHaveLength(3)

    // So is what a server logs that was started anew, on the same port, and counts its lines from 1.
    await served.stop()
    const places = ["--port", String(served.port), "--http-port", "0", "--data-dir", folder.path]
    const again = start(["serve", ...places], {})
    await new Promise((resolve) => again.stdout.once("data", resolve))
    await shell("SET user:6 f")
    await expect.poll(() => said, pollOptions).toContain('audit 1  {"who":"user:6"}')
    following.kill("SIGINT")
    await following.ended
    again.kill("SIGTERM")
    await again.ended
  })

  it("does not wait for a server that was never there, or that wants a password", async () => {
    const free = await mimosa(["logs", "-f", "--port", "1"])
    expect([free.code, free.stderr]).toEqual([1, expect.stringContaining("no server is on 127.0.0.1:1; start one")])
    const own = await temporaryFolder()
    const guarded = await serve(own.path, [], { MIMOSA_PASSWORD: "secret" })
    const { code, stderr } = await mimosa(["logs", "-f", "--port", String(guarded.port), "--password", "other"])
    expect([code, stderr]).toEqual([1, expect.stringContaining("WRONGPASS")])
    await guarded.stop()
    await own.remove()
  })
})

const pollOptions = { timeout: 20_000 } // ms; only a hang meets it
