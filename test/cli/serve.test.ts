/** `mimosa serve` as a process: its start, its end, and what it refuses. */
import { readFile, writeFile } from "node:fs/promises"
import { type AddressInfo, connect, createServer, type Server } from "node:net"
import { join } from "node:path"
import { afterEach, beforeEach, expect, it } from "vitest"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "./Mimosa.ts"

describeBuilt("mimosa serve", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  const running: Served[] = []
  const started = async (args: readonly string[] = []) => {
    const served = await serve(folder.path, args)
    running.push(served)
    return served
  }
  beforeEach(async () => {
    folder = await temporaryFolder()
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map((served) => served.stop("SIGKILL")))
    await folder.remove()
  })

  it("says how to talk to it, and answers there", async () => {
    const { welcome, port, httpPort } = await started(["--max-entries", "1234", "--max-bytes", "3mb"])
    const kept = `kept in ${folder.path}: 0 triggers, 0 tenants, 0 scripts`
    expect(welcome).toContain(` is ready: up to 1,234 entries and 3 MiB, ${kept}\n`)
    expect(await mimosa(["ping", "--port", String(port)])).toMatchObject({ code: 0 })
    expect((await fetch(`http://127.0.0.1:${httpPort}/readyz`)).status).toBe(200)
    const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text()
    expect(metrics).toContain("mimosa_keyspace_entries 0\n")
  })

  it.each(["SIGTERM", "SIGINT"] as const)("ends with 0 on %s, while a client is connected", async (signal) => {
    const served = await started()
    const socket = connect(served.port, "127.0.0.1")
    await new Promise<void>((resolve) => {
      socket.on("data", () => resolve())
      socket.write("PING\r\n")
    })
    const closed = new Promise<void>((resolve) => void socket.on("close", () => resolve()))
    expect(await served.stop(signal)).toBe(0)
    await closed
    expect(served.stderr()).toBe("")
    expect(served.stdout()).toMatch(/\nstopping…\nstopped\n$/)
  })

  it("keeps triggers, tenants and scripts over a restart, and over a kill, and says how many it has", async () => {
    const first = await started()
    const at = (served: Served) => ["--port", String(served.port)]
    await mimosa(["trigger", "set", "a", "x:*", "ON_WRITE", "--source", "return 1", ...at(first)])
    expect(await first.stop()).toBe(0)
    const second = await started()
    await mimosa(["trigger", "set", "b", "y:*", "ON_READ", "--source", "return 2", "--timeout", "200", ...at(second)])
    await mimosa(["shell", ...at(second)], {
      stdin: ["TENANT CREATE shop", ...["a", "b"].map((name) => `SCRIPT.SET shop ${name} 'x = 1'`)].join("\n")
    })
    await second.stop("SIGKILL")
    const third = await started()
    expect(third.welcome).toContain(": 2 triggers, 1 tenant, 2 scripts\n")
    const { stdout } = await mimosa(["trigger", "list", "--json", ...at(third)])
    expect(JSON.parse(stdout)).toMatchObject([
      { name: "a", pattern: "x:*", events: "ON_WRITE" },
      { name: "b", pattern: "y:*", events: "ON_READ", timeout_us: 200 }
    ])
  })

  it("keeps no events for dry runs on history where --event-log is 0", async () => {
    const tried = async (args: readonly string[]) => {
      const { port } = await started(args)
      const { stdout, stderr } = await mimosa([
        ...["trigger", "test", "--source", "return", "--history", "5", "--port", String(port)]
      ])
      return stdout + stderr
    }
    expect(await tried(["--event-log", "0"])).toContain("no events are kept to run it on")
    await running.pop()?.stop("SIGKILL")
    expect(await tried([])).toContain("nothing has happened yet")
  })

  it("refuses a data directory that another server has", async () => {
    const { pid } = await started()
    const { code, stderr } = await mimosa(["serve", "--port", "0", "--http-port", "0", "--data-dir", folder.path])
    expect(code).toBe(1)
    const line = `mimosa: data directory ${folder.path} is in use by process ${pid}: stop it, or choose another directory\n`
    expect(stderr).toBe(line)
  })

  it("refuses a corrupt triggers.json and leaves it as it is", async () => {
    const file = join(folder.path, "triggers.json")
    await writeFile(file, '{"kind":"triggers","version":1,"data":[{"name":')
    const { code, stdout, stderr } = await mimosa([
      "serve",
      "--port",
      "0",
      "--http-port",
      "0",
      "--data-dir",
      folder.path
    ])
    expect([code, stdout]).toEqual([1, ""])
    expect(stderr).toMatch(/^mimosa: \S+triggers\.json cannot be read: not JSON .*It was left as it is: .*\n$/)
    expect(await readFile(file, "utf8")).toBe('{"kind":"triggers","version":1,"data":[{"name":')
  })

  it("refuses a triggers.json of a later version", async () => {
    await writeFile(join(folder.path, "triggers.json"), '{"kind":"triggers","version":99,"data":[]}')
    const { code, stderr } = await mimosa(["serve", "--port", "0", "--http-port", "0", "--data-dir", folder.path])
    expect(code).toBe(1)
    expect(stderr).toMatch(/has format version 99, this program reads \d+: .*\n$/)
  })

  it.each([
    ["--port", "RESP"],
    ["--http-port", "HTTP"]
  ])("refuses a %s that is in use, in one line", async (option, listener) => {
    const taken = await new Promise<Server>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => resolve(server))
    })
    const { port } = taken.address() as AddressInfo
    const ports = ["--port", "--http-port"].flatMap((name) => [name, name === option ? String(port) : "0"])
    const outcome = await mimosa(["serve", ...ports, "--data-dir", folder.path])
    taken.close()
    expect(outcome).toEqual({
      code: 1,
      stdout: "",
      stderr: `mimosa: ${listener} cannot listen on 127.0.0.1:${port}: the port is in use; stop what listens there, or choose another port\n`
    })
  })

  it("refuses a --mesh-port that is in use, in one line", async () => {
    const taken = await new Promise<Server>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => resolve(server))
    })
    const { port } = taken.address() as AddressInfo
    const ports = ["--port", "0", "--http-port", "0", "--mesh-port", String(port)]
    const outcome = await mimosa(["serve", ...ports, "--namespace", "taken", "--data-dir", folder.path])
    taken.close()
    expect(outcome).toEqual({
      code: 1,
      stdout: "",
      stderr: `mimosa: coherence over mesh: cannot listen on 127.0.0.1:${port}: the port is in use; stop what listens there, or choose another port\n`
    })
  })

  it("says over which broker it shares its keys, and that it does not answer, without credentials", async () => {
    const url = "redis://user:hidden@127.0.0.1:1/3"
    const { welcome, stderr } = await started(["--namespace", "shop", "--coherence", url])
    expect(welcome).toContain("in namespace shop, with 0 others so far, over redis at redis://127.0.0.1:1\n")
    expect(stderr()).toContain('"WARN","msg":"redis://127.0.0.1:1 does not answer (ECONNREFUSED): trying again"}\n')
    expect(stderr()).not.toContain("hidden")
  })

  it("refuses an --egress-allow that it cannot read", async () => {
    const { code, stderr } = await mimosa(["serve", "--data-dir", folder.path, "--egress-allow", "http://x"])
    expect([code, stderr]).toEqual([
      1,
      'mimosa: egressAllow (--egress-allow): "http://x" is not a network; an item is host[:port], ip[:port], [ipv6]:port, ip/bits or *\n'
    ])
  })

  it("logs one JSON record a line on stderr, nothing on stdout", async () => {
    const served = await started()
    const source = "cache.log('audit', { key = event.key })"
    await mimosa(["trigger", "set", "audit", "*", "ON_WRITE", "--port", String(served.port), "--source", source])
    const socket = connect(served.port, "127.0.0.1")
    socket.write("SET greeting hello\r\nQUIT\r\n")
    await new Promise((resolve) => socket.on("close", resolve).resume())
    await served.stop()
    const records = served
      .stderr()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(records).toMatchObject([
      { level: "INFO", msg: "audit", stream: "audit", trigger: "audit", event: "ON_WRITE", key: "greeting" }
    ])
  })

  it("asks clients for the password that its environment names, on both ports, and says so", async () => {
    const env = { MIMOSA_PASSWORD: "open sesame" }
    const served = await serve(folder.path, [], env)
    running.push(served)
    expect(served.welcome).toContain("password      asked for on both ports: redis-cli takes it from REDISCLI_AUTH")
    expect(served.welcome).not.toContain("open sesame")
    const ping = ["ping", "--port", String(served.port)]
    expect(await mimosa(ping)).toMatchObject({
      code: 1,
      stderr: `mimosa: 127.0.0.1:${served.port} asks for a password: --password or MIMOSA_PASSWORD\n`
    })
    expect(await mimosa(ping, { env })).toMatchObject({ code: 0 })
    expect(await mimosa([...ping, "--password", "open sesame"])).toMatchObject({ code: 0 })
    const http = `http://127.0.0.1:${served.httpPort}`
    expect((await fetch(`${http}/metrics`)).status).toBe(401)
    expect((await fetch(`${http}/metrics`, { headers: { authorization: "Bearer open sesame" } })).status).toBe(200)
    expect((await fetch(`${http}/healthz`)).status).toBe(200)
  })

  it("warns when everybody may come in, and not when there is a password", async () => {
    const open = await started(["--host", "0.0.0.0"])
    await open.stop()
    expect(JSON.parse(open.stderr())).toMatchObject({
      level: "WARN",
      msg: "everybody who reaches 0.0.0.0 can read and change everything: set MIMOSA_PASSWORD, or leave --host at 127.0.0.1"
    })
    const guarded = await started(["--host", "0.0.0.0", "--password", "secret"])
    await guarded.stop()
    expect(guarded.stderr()).toBe("")
  })

  it("shows where its triggers are kept as a path that holds from everywhere", async () => {
    const served = await serve("kept/here", [], {}, folder.path)
    running.push(served)
    expect(served.welcome).toContain(`kept in ${join(folder.path, "kept/here")}: 0 triggers`)
  })
})
