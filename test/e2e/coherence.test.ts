/**
 * Real processes of one namespace on this host, over each transport: what one has written the other reads. The same of
 * two `mimosa serve`, as a client of Redis sees them; and what a stranger at a mesh port achieves.
 */
import { connect } from "node:net"
import { createClient } from "@redis/client"
import { afterEach, expect, it } from "vitest"
import type { CoherenceSettings, CoherenceStatus } from "../../src/promise.ts"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "../cli/Mimosa.ts"
import { TcpProxy } from "../coherence/transport/support/TcpProxy.ts"
import { RawClient } from "../server/RawClient.ts"
import { describeWithNats, describeWithRedis } from "../servers/describeWith.ts"
import { startNats } from "../servers/Nats.ts"
import * as Port from "../servers/Port.ts"
import { startRedis } from "../servers/Redis.ts"
import { type CoherentProgram, type ProgramSettings, startProgram } from "../support/CoherentProgram.ts"
import { eventually } from "../support/eventually.ts"

/** What a test has started ends with it, the last first. */
const endings: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end()
})

const someNamespace = (): string => `e2e_${Math.random().toString(36).slice(2)}`

const program = async (settings: ProgramSettings): Promise<CoherentProgram> => {
  const started = await startProgram(settings)
  endings.push(() => started.end())
  return started
}

/** Two programs that have found each other. */
const pair = async (first: ProgramSettings, second: ProgramSettings): Promise<[CoherentProgram, CoherentProgram]> => {
  const [a, b] = await Promise.all([program(first), program(second)])
  await Promise.all([a.untilMembers(1), b.untilMembers(1)])
  return [a, b]
}

const live = { ackMode: "live" } as const

/** What is promised of any two programs of one namespace, whatever carries it. */
const expectCoherent = async (a: CoherentProgram, b: CoherentProgram): Promise<void> => {
  // A write that was awaited: the other's next read is it.
  for (let round = 1; round <= 20; round++) {
    await a.set("profile:42", { round }, live)
    expect(await b.get("profile:42")).toEqual({ round })
  }
  // … and the other way round, of the same key.
  await b.set("profile:42", "b's", live)
  expect(await a.get("profile:42")).toBe("b's")
  // One that was not awaited arrives.
  await a.set("profile:42", "soon")
  await eventually(async () => (await b.get("profile:42")) === "soon")
  // What nobody but A has ever held is found there, whenever it was written.
  await a.set("only:a", "found")
  await eventually(async () => (await b.get("only:a")) === "found")
  expect(await b.get("nowhere")).toBeUndefined()
  // A delete, and a tag.
  await b.del("profile:42", live)
  expect(await a.get("profile:42")).toBeUndefined()
  await a.set("page:1", "old", { ...live, tags: ["news"] })
  expect(await b.get("page:1")).toBe("old")
  await b.invalidateTags(["news"], live)
  expect([await a.get("page:1"), await b.get("page:1")]).toEqual([undefined, undefined])
  await eventually(async () => (await a.status()).state === "coherent" && (await b.status()).state === "coherent")
}

describeBuilt("two programs on one host", () => {
  it("need the name of their namespace and nothing else", async () => {
    const namespace = someNamespace()
    const [a, b] = await pair({ namespace }, { namespace })
    await expectCoherent(a, b)
    expect((await a.status()).transport).toBe("mesh")
  })

  it("have each other's keys at once when the second joins late, and again when it is started anew", async () => {
    const namespace = someNamespace()
    const a = await program({ namespace })
    await a.set("early", 1)
    const b = await program({ namespace }) // over when it has joined
    await eventually(async () => (await b.get("early")) === 1) // a busy peer may answer too late for the first
    await b.set("b's own", 2, live)
    await a.get("b's own")
    await b.end()
    await eventually(async () => (await a.status()).members.length === 0)
    expect((await a.status()).state).toBe("coherent")
    const again = await program({ namespace })
    await eventually(async () => (await again.get("early")) === 1 && (await again.get("b's own")) === 2)
  })

  it("see nothing of another namespace", async () => {
    const [one, two] = [await program({ namespace: someNamespace() }), await program({ namespace: someNamespace() })]
    await one.set("k", 1, live)
    expect(await two.get("k")).toBeUndefined()
    await two.del("k", live)
    expect(await one.get("k")).toBe(1)
    expect([(await one.status()).members, (await two.status()).members]).toEqual([[], []])
  })

  it("find each other by seeds", async () => {
    const [port, namespace] = [await Port.free(), someNamespace()]
    const mesh = { beacon: false, seeds: [`127.0.0.1:${port}`] }
    const of = (own: CoherenceSettings["mesh"]): ProgramSettings => ({
      namespace,
      coherence: { mesh: { ...mesh, ...own } }
    })
    const [a, b] = await pair(of({ port }), of({}))
    await expectCoherent(a, b)
  })

  it("find each other by a name that the system resolves", async () => {
    const [port, namespace] = [await Port.free(), someNamespace()]
    const mesh = { beacon: false, dns: `localhost:${port}` }
    const [a, b] = await pair({ namespace, coherence: { mesh: { ...mesh, port } } }, { namespace, coherence: { mesh } })
    await expectCoherent(a, b)
  })

  // Only Linux has all of 127.0.0.0/8 on its loopback interface.
  it.runIf(process.platform === "linux")("find each other by a name that has the addresses of all", async () => {
    const [port, namespace] = [await Port.free(), someNamespace()]
    const names = { "cache.cluster": ["127.0.0.1", "127.0.0.2"] }
    const mesh = { beacon: false, dns: `cache.cluster:${port}`, port }
    const of = (host: string): ProgramSettings => ({ names, namespace, coherence: { mesh: { ...mesh, host } } })
    const [a, b] = await pair(of("127.0.0.1"), of("127.0.0.2"))
    await expectCoherent(a, b)
  })

  it("share keys under a secret, and refuse whoever has another one", async () => {
    const [port, namespace] = [await Port.free(), someNamespace()]
    const mesh = { beacon: false, host: "127.0.0.1", seeds: [`127.0.0.1:${port}`] }
    const of = (secret: string, own: CoherenceSettings["mesh"] = {}): ProgramSettings => ({
      namespace,
      coherence: { secret, mesh: { ...mesh, ...own } }
    })
    const secret = "what all of them know"
    const [a, b] = await pair(of(secret, { port }), of(secret))
    await expectCoherent(a, b)
    await a.set("k", "ours", live)
    const stranger = await program(of("what nobody of them knows"))
    expect(await stranger.get("k")).toBeUndefined()
    await stranger.set("k", "theirs", live)
    expect([await a.get("k"), await b.get("k")]).toEqual(["ours", "ours"])
    expect((await a.status()).members).toHaveLength(1)
  })
})

describeWithNats("two programs beside a NATS server", () => {
  describeBuilt("of one namespace", () => {
    it("read what the other has written", async () => {
      const server = await startNats()
      endings.push(server.stop)
      const settings: ProgramSettings = { namespace: someNamespace(), coherence: { transport: server.url } }
      const [a, b] = await pair(settings, settings)
      await expectCoherent(a, b)
      expect((await a.status()).transport).toBe("nats")
    })
  })
})

describeWithRedis("two programs beside a Redis server", () => {
  describeBuilt("of one namespace", () => {
    it("read what the other has written", async () => {
      const server = await startRedis()
      endings.push(server.stop)
      const transport = `redis://127.0.0.1:${server.port}`
      const settings: ProgramSettings = { namespace: someNamespace(), coherence: { transport } }
      const [a, b] = await pair(settings, settings)
      await expectCoherent(a, b)
      expect((await a.status()).transport).toBe("redis")
    })
  })
})

interface Instance {
  readonly served: Served
  readonly meshPort: number
}

/** `mimosa serve` in the namespace, which knows of the others that are given. */
const serveIn = async (namespace: string, others: readonly Instance[] = [], more: readonly string[] = []) => {
  const folder = await temporaryFolder()
  endings.push(folder.remove)
  const meshPort = await Port.free()
  const peers = others.flatMap((other) => ["--peers", `127.0.0.1:${other.meshPort}`])
  const args = ["--namespace", namespace, "--mesh-port", String(meshPort), ...peers, ...more]
  const served = await serve(folder.path, args)
  endings.push(() => served.stop())
  return { served, meshPort }
}

const newClient = (port: number) => createClient({ socket: { host: "127.0.0.1", port }, RESP: 2 })
type Client = ReturnType<typeof newClient>

const clientOf = async ({ served }: Instance): Promise<Client> => {
  const client = newClient(served.port)
  client.on("error", () => {}) // what was asked rejects
  await client.connect()
  endings.push(async () => client.destroy())
  return client
}

const servedPair = async () => {
  const namespace = someNamespace()
  const one = await serveIn(namespace)
  const two = await serveIn(namespace, [one])
  const [a, b] = [await clientOf(one), await clientOf(two)]
  await eventually(async () => (await statusOf(one)).members.length === 1 && (await statusOf(two)).members.length === 1)
  return { one, two, a, b, namespace }
}

const statusOf = async ({ served }: Instance): Promise<CoherenceStatus> =>
  (await (await fetch(`http://127.0.0.1:${served.httpPort}/v1/coherence`)).json()) as CoherenceStatus

describeBuilt("two servers of one namespace, as clients of Redis see them", () => {
  it("answer with what was set, changed and deleted at the other", async () => {
    const { a, b } = await servedPair()
    const everywhere = async (client: Client) => expect(await client.wait(1, 5_000)).toBe(1)

    await a.set("k", "a's")
    await everywhere(a)
    expect(await b.get("k")).toBe("a's")
    await b.set("k", "b's", { EX: 100 })
    await everywhere(b)
    expect(await a.get("k")).toBe("b's")
    const ttl = await a.ttl("k")
    expect(ttl).toBeGreaterThan(0)
    expect(ttl).toBeLessThanOrEqual(100)
    await a.expire("k", 1_000)
    await everywhere(a)
    expect(await b.ttl("k")).toBeGreaterThan(100)
    expect(await b.del("k")).toBe(1)
    await everywhere(b)
    expect([await a.get("k"), await a.exists("k"), await a.ttl("k")]).toEqual([null, 0, -2])
  })

  it("count on with what was counted at the other", async () => {
    const { a, b } = await servedPair()
    await a.set("hits", "41")
    await a.wait(1, 5_000)
    expect(await b.incr("hits")).toBe(42)
    await b.wait(1, 5_000)
    expect(await a.incrBy("hits", 8)).toBe(50)
    await a.wait(1, 5_000)
    expect(await b.append("hits", "!")).toBe(3)
    await b.wait(1, 5_000)
    expect(await a.getEx("hits", { type: "PERSIST" })).toBe("50!")
  })

  it("run MULTI … EXEC on keys that the other has", async () => {
    const { a, b } = await servedPair()
    await a.mSet({ "m:1": "one", "m:2": "2" })
    await a.wait(1, 5_000)
    expect(await b.mGet(["m:1", "m:2", "m:3"])).toEqual(["one", "2", null])
    await a.set("m:4", "4")
    await a.wait(1, 5_000)
    expect(await b.multi().get("m:1").incr("m:4").set("m:5", "five").exec()).toEqual(["one", 5, "OK"])
    await b.wait(1, 5_000)
    expect(await a.mGet(["m:4", "m:5"])).toEqual(["5", "five"])
  })

  it("keep what is SET … LOCAL, and invalidate by key, tag and prefix", async () => {
    const { a, b } = await servedPair()
    expect(await a.sendCommand(["SET", "mine", "1", "LOCAL"])).toBe("OK")
    await a.sendCommand(["SET", "page:1", "1", "TAGS", "1", "news"])
    await a.set("page:2", "2")
    await a.set("user:1", "3")
    await a.wait(1, 5_000)
    expect(await b.mGet(["mine", "page:1", "page:2", "user:1"])).toEqual([null, "1", "2", "3"])
    const gone = async (...command: string[]) => {
      await b.sendCommand(command)
      await b.wait(1, 5_000)
      return a.mGet(["mine", "page:1", "page:2", "user:1"])
    }
    expect(await gone("INVALIDATE", "TAG", "news")).toEqual(["1", null, "2", "3"])
    expect(await gone("INVALIDATE", "PREFIX", "page:")).toEqual(["1", null, null, "3"])
    expect(await gone("INVALIDATE", "KEY", "user:1", "mine")).toEqual(["1", null, null, null])
  })

  it("say how they stand, over RESP and over HTTP, and what is known of a key", async () => {
    const { one, two, a, b, namespace } = await servedPair()
    await a.set("k", "1")
    await a.wait(1, 5_000)
    await b.get("k")
    const [first, second] = [await statusOf(one), await statusOf(two)]
    expect(first).toMatchObject({
      namespace,
      transport: "mesh",
      state: "coherent",
      address: `127.0.0.1:${one.meshPort}`
    })
    expect(first.members).toMatchObject([{ name: second.name, state: "live", lag: 0, acknowledged: first.written }])
    const pairs = async (client: Client, ...command: string[]) => JSON.stringify(await client.sendCommand(command))
    expect(await pairs(a, "COHERENCE", "STATUS")).toContain(`"name","${first.name}"`)
    expect(await pairs(a, "COHERENCE", "PEERS")).toContain(`"address","127.0.0.1:${two.meshPort}"`)
    expect(await pairs(a, "COHERENCE", "LAG")).toContain(`"lag",0`)
    const trace = await pairs(b, "COHERENCE", "TRACE", "k")
    expect(trace).toContain(first.name)
    const overHttp = await fetch(`http://127.0.0.1:${two.served.httpPort}/v1/coherence/trace?key=k`)
    expect(((await overHttp.json()) as { lines: string[] }).lines.join()).toContain(first.name)
  })

  it("tell WAIT that nobody has acknowledged when the other is gone, and are coherent alone", async () => {
    const { one, two, a } = await servedPair()
    await two.served.stop()
    await eventually(async () => (await statusOf(one)).members.length === 0)
    await a.set("k", "alone")
    expect(await a.wait(1, 100)).toBe(0)
    expect((await statusOf(one)).state).toBe("coherent")
  })
})

const proxyTo = async (port: number): Promise<TcpProxy> => {
  const proxy = await TcpProxy.to(port)
  endings.push(() => proxy.close())
  return proxy
}

/** A program that knows of nobody but who is behind the port. */
const throughProxy = (namespace: string, secret: string, port: number): ProgramSettings => ({
  namespace,
  coherence: { secret, mesh: { host: "127.0.0.1", beacon: false, seeds: [`127.0.0.1:${port}`] } }
})

/** How often the server has refused somebody for that reason. */
const refused = async ({ served }: Instance, reason: string): Promise<number> => {
  const metrics = await (await fetch(`http://127.0.0.1:${served.httpPort}/metrics`)).text()
  return Number(new RegExp(`mimosa_coherence_refused_total\\{reason="${reason}"\\} (\\d+)`).exec(metrics)?.[1] ?? 0)
}

/** Says it to whoever listens there, and waits until they have hung up. */
const say = async (port: number, bytes: Uint8Array): Promise<void> => {
  const socket = connect(port, "127.0.0.1")
  socket.on("error", () => {})
  socket.resume()
  socket.write(bytes)
  await new Promise((resolve) => socket.once("close", resolve))
}

const nonsenses = [
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "*1\r\n$4\r\nPING\r\n",
  "\0".repeat(100_000),
  `Mimo\x01\x01\xff\xff${"x".repeat(65_535)}`, // says that it is longer than a HELLO may be
  "Mimo\x01\x02\x00\x00" // proves before it has said who it is
].map((text) => Buffer.from(text, "latin1"))

describeBuilt("a server of a namespace", () => {
  it("listens on loopback alone without a secret, and refuses to start when told otherwise", async () => {
    const one = await serveIn(someNamespace())
    expect((await statusOf(one)).address).toBe(`127.0.0.1:${one.meshPort}`)
    const folder = await temporaryFolder()
    endings.push(folder.remove)
    const args = ["serve", "--port", "0", "--http-port", "0", "--data-dir", folder.path, "--namespace", someNamespace()]
    const refused = await mimosa([...args, "--mesh-host", "0.0.0.0"])
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(
      "it would listen on 0.0.0.0 without a secret; set a secret, or listen on 127.0.0.1"
    )
    const short = await mimosa([...args, "--mesh-host", "0.0.0.0"], { env: { MIMOSA_MESH_SECRET: "short" } })
    expect(short.code).toBe(1)
    expect(short.stderr).toContain("coherence.secret is a text of at least 16 bytes; not what was given")
  })

  it("refuses strangers at its mesh port, counts them, and goes on serving", async () => {
    const [namespace, secret] = [someNamespace(), "what all of them know"]
    const withSecret = ["--mesh-secret", secret, "--mesh-host", "127.0.0.1"]
    const one = await serveIn(namespace, [], withSecret)
    const client = await clientOf(one)
    await client.set("k", "still here")

    const proxy = await proxyTo(one.meshPort)
    const heard: Buffer[] = []
    proxy.forward = (piece) => {
      heard.push(piece)
      return [piece]
    }
    const member = await program(throughProxy(namespace, secret, proxy.port))
    await member.untilMembers(1)
    expect(await member.get("k")).toBe("still here")
    await member.set("k", "by a member", live)
    expect(await client.get("k")).toBe("by a member")
    await member.end()

    const before = { secret: await refused(one, "secret"), garbage: await refused(one, "garbage") }
    await say(one.meshPort, Buffer.concat(heard)) // a whole session once more: its proof is of another nonce
    await eventually(async () => (await refused(one, "secret")) > before.secret)
    for (const nonsense of nonsenses) await say(one.meshPort, nonsense)
    await eventually(async () => (await refused(one, "garbage")) >= before.garbage + nonsenses.length)
    const stranger = await program(throughProxy(namespace, "what nobody of them knows", one.meshPort))
    await stranger.set("k", "forged")
    await eventually(async () => (await refused(one, "secret")) > before.secret + 1)

    expect(await client.get("k")).toBe("by a member")
    expect((await statusOf(one)).members).toEqual([])
    const two = await serveIn(namespace, [one], withSecret)
    expect(await (await clientOf(two)).get("k")).toBe("by a member")
    const raw = await RawClient.connect(one.served.port)
    endings.push(() => raw.close())
    expect(await raw.send("COHERENCE", "STATUS")).toContain("coherent")
    expect(one.served.stderr()).not.toContain("crash")
  })

  it("cuts the link of a member whose bytes somebody changes on the way, and has it back", async () => {
    const [namespace, secret] = [someNamespace(), "what all of them know"]
    const one = await serveIn(namespace, [], ["--mesh-secret", secret, "--mesh-host", "127.0.0.1"])
    const proxy = await proxyTo(one.meshPort)
    const member = await program(throughProxy(namespace, secret, proxy.port))
    await member.untilMembers(1)
    proxy.forward = (piece) => {
      proxy.forward = (whole) => [whole]
      const forged = Buffer.from(piece)
      forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1
      return [forged]
    }
    await member.set("k", "unspoilt")
    await eventually(async () => (await refused(one, "forged")) === 1)
    const client = await clientOf(one)
    await eventually(async () => (await client.get("k")) === "unspoilt")
    await eventually(async () => (await statusOf(one)).state === "coherent")
  })
})
