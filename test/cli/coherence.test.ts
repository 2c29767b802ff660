/** `mimosa coherence …` against two served processes of one namespace, and one that shares nothing. */
import { afterAll, beforeAll, expect, it } from "vitest"
import { RespClient } from "../../src/cli/RespClient.ts"
import { eventually } from "../support/eventually.ts"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "./Mimosa.ts"

describeBuilt("mimosa coherence", () => {
  const folders: Array<Awaited<ReturnType<typeof temporaryFolder>>> = []
  const served: Served[] = []
  const start = async (args: readonly string[]): Promise<Served> => {
    const folder = await temporaryFolder()
    folders.push(folder)
    const server = await serve(folder.path, args)
    served.push(server)
    return server
  }
  let [a, b]: Served[] = []
  let both: readonly string[]
  const at = (server: Served | undefined) => ["--port", String(server?.port)]
  const coherence = (...args: readonly string[]) => mimosa(["coherence", ...args])
  const open = (server: Served | undefined) => RespClient.connect({ host: "127.0.0.1", port: server?.port as number })

  beforeAll(async () => {
    const namespace = ["--namespace", `cli-${process.pid}-${Date.now()}`]
    a = await start(namespace)
    b = await start(namespace)
    both = [a, b].flatMap((server) => ["--server", `127.0.0.1:${server.port}`])
    const [writer, reader] = [await open(a), await open(b)]
    while (((await writer.send("COHERENCE", "PEERS")) as unknown[]).length === 0);
    for (let n = 0; n < 10; n++) await writer.send("SET", `user:${n}`, "Ada")
    await writer.send("WAIT", "2", "0")
    for (let n = 0; n < 10; n++) expect(await reader.send("GET", `user:${n}`)).toBe("Ada")
    writer.close()
    reader.close()
  })
  afterAll(async () => {
    for (const server of served) await server.stop()
    for (const folder of folders) await folder.remove()
  })

  it("shows how a server stands, or several beside each other", async () => {
    const one = await coherence("status", ...at(a))
    expect(one.code).toBe(0)
    expect(one.stdout.split("\n").map((line) => line.split(/ +/)[0])).toEqual(
      expect.arrayContaining(["state", "members", "transport", "written", "framesIn"])
    )
    expect(one.stdout).toMatch(/^state +coherent\nmembers +1\ntransport +mesh\n/)
    expect(one.stdout).not.toMatch(/^malformed|^degradedWhy|^epochs/m)
    const { malformed, epochs } = JSON.parse((await coherence("status", ...at(a), "--json")).stdout)
    expect([malformed, epochs]).toEqual([0, 0])
    const two = await coherence("status", ...both)
    expect(two.stdout.split("\n")[0]).toMatch(/^SERVER +NAME +STATE +MEMBERS/)
    expect(two.stdout).toMatch(new RegExp(`^127\\.0\\.0\\.1:${b?.port} +[0-9a-f]{14} +coherent +1 `, "m"))
    const { stdout } = await coherence("status", ...both, "--json")
    expect(JSON.parse(stdout)).toMatchObject({ [`127.0.0.1:${a?.port}`]: { state: "coherent", members: 1 } })
  })

  it("tells the log of a server who has come", async () => {
    const { name } = JSON.parse((await coherence("status", ...at(b), "--json")).stdout)
    await eventually(() => a?.stderr().includes(`coherence: instance ${name} (default) joined: 1 other now`) === true)
  })

  it("shows the others and how far they are behind", async () => {
    const status = JSON.parse((await coherence("status", ...at(b), "--json")).stdout)
    const peers = await coherence("peers", ...at(a))
    expect(peers.stdout).toContain(status.name)
    const lag = await coherence("lag", ...at(a), "--json")
    expect(JSON.parse(lag.stdout)).toMatchObject([{ name: status.name, state: "live", lag: 0 }])
  })

  it("traces a key on each", async () => {
    const { stdout } = await coherence("trace", "user:1", ...both)
    const [atA, atB] = stdout.split("\n\n")
    expect(atA).toContain("it is here, as written by this instance")
    expect(atB).toMatch(/it is here, as written by [0-9a-f]{14} with version/)
    expect(atB).toContain("its reads are not estimated")
  })

  it("looks for stale entries on each, and ends with 0 where there are none", async () => {
    const { code, stdout } = await coherence("doctor", ...both, "--samples", "500")
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`^127\\.0\\.0\\.1:${a?.port} +10 +1 +0 +0 +0 +0 +-$`, "m"))
    expect(stdout).toContain(
      `127.0.0.1:${b?.port}: 0 of 10 samples are stale: too few samples to say how many of 10^9 reads`
    )
    const json = JSON.parse((await coherence("doctor", ...at(a), "--json")).stdout)
    expect(json).toMatchObject({ samples: 10, stale: 0, traces: [], perBillionMax10000ms: 300_000_000 })
  })

  it("ends with 2 where nothing could be compared, and says why", async () => {
    const alone = await start(["--namespace", `cli-alone-${process.pid}-${Date.now()}`])
    const { code, stdout, stderr } = await coherence("doctor", ...at(alone))
    expect(code).toBe(2)
    expect(stdout).toContain("no other instance is there: there was nothing to compare with")
    expect(stderr).toBe("mimosa: nothing was compared, so nothing is known of stale reads\n")
    const besides = await coherence("doctor", ...at(a), "--server", `127.0.0.1:${alone.port}`, ...both)
    expect(besides.code).toBe(0) // of the others something was
  }, 30_000)

  it("serves the doctor over HTTP", async () => {
    const url = `http://127.0.0.1:${a?.httpPort}/v1/coherence/doctor`
    const answer = await fetch(`${url}?samples=5`)
    expect([answer.status, await answer.json()]).toMatchObject([200, { samples: 5, stale: 0, asked: 1 }])
    expect((await fetch(`${url}?samples=0`)).status).toBe(400)
  })

  it("says what is wrong: no such server, no such instance, nothing shared", async () => {
    expect(await coherence("status", "--server", "here")).toMatchObject({
      code: 1,
      stderr: "mimosa: --server is host:port, as 10.0.0.1:6380, not 'here'\n"
    })
    const gone = await coherence("status", ...both, "--server", "127.0.0.1:1")
    expect(gone.code).toBe(1)
    expect(gone.stdout).toContain("coherent")
    expect(gone.stderr).toContain("127.0.0.1:1: no server is on 127.0.0.1:1")
    const forget = await coherence("forget", "00000000000abc", ...at(a))
    expect(forget).toMatchObject({ code: 1, stderr: expect.stringContaining("there is no instance '00000000000abc'") })
    const alone = await start([])
    expect((await coherence("doctor", ...at(alone))).stderr).toContain("start it with --namespace")
  }, 30_000)
})
