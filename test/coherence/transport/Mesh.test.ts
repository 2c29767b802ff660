import { createSocket } from "node:dgram"
import { readFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"
import { Context, Effect, Exit, Layer, Logger, LogLevel, Scope } from "effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { ExitReason, Process, type Supervisor } from "../../../src/actor/index.ts"
import { encodeBeacon, namespaceIdOf } from "../../../src/coherence/transport/internal/meshWire.ts"
import * as Mesh from "../../../src/coherence/transport/Mesh.ts"
import { CoherenceTransport, type PeerInfo, TransportError } from "../../../src/coherence/transport/Transport.ts"
import { type Member, openMember, until } from "../../contracts/coherenceTransport.ts"
import { startMeshProcess } from "./support/meshMember.ts"
import { TcpProxy } from "./support/TcpProxy.ts"

let world: Scope.CloseableScope
let namespace: string
const proxies: TcpProxy[] = []

beforeEach(() => {
  world = Effect.runSync(Scope.make())
  namespace = `ns_${Math.random().toString(36).slice(2)}`
})
afterEach(async () => {
  await Effect.runPromise(Logger.withMinimumLogLevel(Scope.close(world, Exit.void), LogLevel.None))
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
})

const secret = "known to all members"
let nextOrigin = 1

interface Settings extends Mesh.MeshOptions {
  readonly origin?: number
  readonly secret?: string
  readonly namespace?: string
  readonly wants?: (peer: PeerInfo) => boolean
}

/** A member on the loopback interface; without a beacon, so that it knows whom it is told of. */
const join = (settings: Settings = {}): Promise<Member> => {
  const { origin = nextOrigin++, secret, wants = () => true, ...options } = settings
  const opened = Effect.map(Layer.build(Mesh.layer({ host: "127.0.0.1", beacon: false, ...options })), (services) =>
    Context.get(services, CoherenceTransport)
  )
  return openMember(
    (self, listener) => Effect.flatMap(opened, ({ open }) => open(self, listener)),
    { origin, region: 0, namespace: settings.namespace ?? namespace, secret },
    wants,
    world
  )
}
const beside = (member: Member, settings: Settings = {}) => join({ seeds: [addressOf(member)], ...settings })
const addressOf = (member: Member): string => member.transport.address() as string
const portOf = (member: Member): number => Number(addressOf(member).split(":")[1])
const linked = async (...members: Member[]) => {
  for (const each of members) await until(() => each.up.size === members.length - 1)
}
const through = async (member: Member): Promise<TcpProxy> => {
  const proxy = await TcpProxy.to(portOf(member))
  proxies.push(proxy)
  return proxy
}

/** What a metric counts, for a label's value or for all. */
const counted = (member: Member, name: string, reason?: string): number => {
  let sum = 0
  for (const reader of member.transport.metrics) {
    if (reader.name !== `mimosa_coherence_${name}` || reader.type === "histogram") continue
    const reading = reader.read()
    if (typeof reading === "number") sum += reading
    else for (const [labels, value] of reading) if (reason === undefined || labels.reason === reason) sum += value
  }
  return sum
}
const strangerLine = (address: string) =>
  `somebody at ${address} uses the namespace ${namespace} with another secret, or one of the two has none`
const refused = (member: Member, reason: string) => counted(member, "refused_total", reason)
const ended = (member: Member, reason: string) => counted(member, "links_lost_total", reason)
const logOf = (member: Member, ...words: string[]) =>
  member.log.filter((line) => words.some((word) => line.startsWith(word)))

const raw = (member: Member): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = connect(portOf(member), "127.0.0.1", () => resolve(socket))
    socket.on("error", () => {})
    socket.resume()
  })
const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()))

describe("who is let in", () => {
  it("refuses another secret, or none where there is one, at both ends, and says so", async () => {
    const a = await join({ secret })
    const stranger = await beside(a, { secret: "guessed wrongly" })
    const nobody = await beside(a)
    await until(() => refused(a, "secret") >= 2)
    await until(() => refused(stranger, "by peer: secret") >= 1 && refused(nobody, "by peer: secret") >= 1)
    expect([a.up.size, stranger.up.size, nobody.up.size]).toEqual([0, 0, 0])
    const b = await beside(a, { secret })
    await linked(a, b)
  })

  it("has one line for an address with another secret, at the end that dials and at the one that is dialed", async () => {
    const a = await join({ secret })
    const stranger = await beside(a, { secret: "guessed wrongly" })
    const nobody = await beside(a)
    await until(() => refused(a, "secret") >= 4 && a.warnings.length >= 2)
    await until(() => refused(stranger, "by peer: secret") >= 2 && stranger.warnings.length > 0)
    await until(() => refused(nobody, "by peer: secret") >= 2 && nobody.warnings.length > 0)
    const line = (member: Member) => `WARN ${strangerLine(addressOf(member))}`
    expect([...a.warnings].sort()).toEqual([line(stranger), line(nobody)].sort())
    expect([stranger.warnings, nobody.warnings]).toEqual([[line(a)], [line(a)]])
  })

  it("has one line for an address with another secret of which only beacons come, at both ends", async () => {
    const beacon = { group: "239.255.77.113", port: 17_813 }
    const a = await join({ secret, beacon })
    const b = await join({ secret: "guessed wrongly", beacon })
    await until(() => refused(a, "beacon forged") > 2 && refused(b, "beacon forged") > 2)
    await until(() => a.warnings.length > 0 && b.warnings.length > 0)
    // It comes over each interface, and is told for the first of them.
    expect(a.warnings).toEqual([
      expect.stringMatching(`:${portOf(b)} uses the namespace ${namespace} with another secret`)
    ])
    expect(b.warnings).toEqual([
      expect.stringMatching(`:${portOf(a)} uses the namespace ${namespace} with another secret`)
    ])
  })

  it("writes no more than so many lines about strangers, and nothing that they say but a port", async () => {
    const beacon = { group: "239.255.77.114", port: 17_814 }
    const a = await join({ secret, beacon })
    const socket = createSocket({ type: "udp4" })
    await new Promise<void>((resolve) => socket.bind(0, resolve))
    socket.setMulticastInterface("127.0.0.1")
    for (let origin = 1; origin <= 300; origin++) {
      const news = { origin, region: 0, address: `\x1b2J.example:${origin}` }
      socket.send(encodeBeacon(namespaceIdOf(namespace), "another secret", news), beacon.port, beacon.group)
      if (origin % 20 === 0) await until(() => refused(a, "beacon forged") >= origin)
    }
    await until(() => a.warnings.length >= 64)
    socket.close()
    expect(a.warnings).toHaveLength(64)
    for (const line of a.warnings)
      expect(line).toMatch(/^WARN somebody at [\d.]+(:\d+)? uses the namespace \w+ with another/)
  })

  it("refuses another namespace under the same secret", async () => {
    const a = await join({ secret })
    const other = await beside(a, { secret, namespace: `${namespace}_2` })
    await until(() => refused(a, "namespace") >= 1 && refused(other, "by peer: namespace") >= 1)
    expect([a.up.size, other.up.size]).toEqual([0, 0])
  })

  it("does not link with itself when its own address is among the seeds", async () => {
    const a = await join()
    const proxy = await through(a)
    const self = await join({ origin: a.origin, seeds: [`127.0.0.1:${proxy.port}`] })
    await until(() => self.log.includes("settled"))
    expect(refused(a, "self")).toBe(1)
    expect(a.log.filter((line) => line !== "settled")).toEqual([])
  })

  it("closes a connection that talks nonsense, and counts it", async () => {
    const a = await join({ secret })
    for (const garbage of [
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "\0\0\0\0",
      "Mimo\x01\x02\x00\x00",
      "Mimo\x01\x01\xff\xff"
    ]) {
      const socket = await raw(a)
      socket.write(Buffer.from(garbage, "latin1"))
      await closed(socket)
    }
    expect(refused(a, "garbage")).toBe(4)
    await linked(a, await beside(a, { secret }))
  })

  it("gives a connection that says too little only so much time", async () => {
    const a = await join({ handshakeTimeoutMs: 30 })
    const silent = await raw(a)
    const slow = await raw(a)
    slow.write("Mim")
    await Promise.all([closed(silent), closed(slow)])
    expect(refused(a, "slow")).toBe(2)
  })

  it("holds only so many connections that have not proved themselves, and gives up the oldest for a member", async () => {
    const a = await join({ handshakeTimeoutMs: 20_000 })
    const sockets: Socket[] = []
    for (let i = 0; i < 130; i++) sockets.push(await raw(a))
    await until(() => refused(a, "crowded") === 2)
    await until(() => sockets.slice(0, 2).every((socket) => socket.closed))
    await linked(a, await beside(a))
    expect(sockets.filter((socket) => socket.closed).length).toBe(refused(a, "crowded"))
    for (const socket of sockets) socket.destroy()
  })
})

describe("what comes over a link", () => {
  const joined = async (settings: Settings = {}) => {
    const b = await join({ secret })
    const proxy = await through(b)
    const a = await join({ secret, seeds: [`127.0.0.1:${proxy.port}`], ...settings })
    await linked(a, b)
    return { a, b, proxy }
  }

  it("cuts a link on which a byte was changed, acts on none of it, and links again", async () => {
    const { a, b, proxy } = await joined()
    proxy.forward = (piece) => {
      proxy.forward = (whole) => [whole]
      const forged = Buffer.from(piece)
      forged[10] = (forged[10] as number) ^ 1
      return [forged]
    }
    a.transport.send(b.origin, new Uint8Array(20))
    await until(() => refused(b, "forged") === 1)
    await until(() => logOf(b, "up").length === 2 && logOf(a, "up").length === 2)
    a.transport.send(b.origin, Uint8Array.of(2))
    await until(() => b.frames.length === 1)
    expect(b.frames[0]?.bytes).toEqual(Uint8Array.of(2))
  })

  it("cuts a link on which something was sent twice, and takes it once", async () => {
    const { a, b, proxy } = await joined()
    proxy.forward = (piece) => {
      proxy.forward = (whole) => [whole]
      return [piece, piece]
    }
    a.transport.send(b.origin, Uint8Array.of(1))
    await until(() => refused(b, "forged") === 1)
    expect(b.frames).toHaveLength(1)
  })

  it("takes nothing that was recorded on another connection", async () => {
    const { a, b, proxy } = await joined()
    const recorded: Buffer[] = []
    proxy.forward = (piece) => [recorded.push(piece) > 0 ? piece : piece]
    a.transport.send(b.origin, Uint8Array.of(1))
    await until(() => b.frames.length === 1)
    await proxy.close()
    await until(() => b.log.includes(`down ${a.origin}`))
    const again = await through(b)
    again.forward = (piece) => [piece]
    const c = await join({ secret, seeds: [`127.0.0.1:${again.port}`] })
    await until(() => b.up.has(c.origin))
    again.forward = () => recorded.splice(0)
    c.transport.send(b.origin, Uint8Array.of(2))
    await until(() => refused(b, "forged") === 1)
    expect(b.frames).toHaveLength(1)
  })

  it("cuts the link of a peer that sends a frame over the limit", async () => {
    const a = await join({ secret })
    const b = await beside(a, { secret, frameBytesMax: 1_000 })
    await linked(a, b)
    a.transport.send(b.origin, new Uint8Array(1_000))
    await until(() => b.frames.length === 1)
    a.transport.send(b.origin, new Uint8Array(1_001))
    await until(() => refused(b, "oversized") === 1 && b.log.includes(`down ${a.origin}`))
    await linked(a, b)
    expect(b.frames).toHaveLength(1)
  })

  it("cuts the link of a peer that does not take what is sent, and counts what is lost", async () => {
    const { a, b, proxy } = await joined({ queueBytesMax: 100_000 })
    proxy.stall()
    const frame = new Uint8Array(90_000)
    await until(() => {
      a.transport.send(b.origin, frame)
      return counted(a, "frames_lost_total", "full") > 0
    })
    await until(() => ended(a, "overflow") === 1)
    expect(a.log).toContain(`down ${b.origin}`)
    expect(a.log).not.toContain(`gone ${b.origin}`)
  })

  it("cuts a link that has gone silent; nobody is gone by that", async () => {
    const { a, b, proxy } = await joined({ livenessMs: 120 })
    proxy.stall()
    await until(() => ended(a, "silent") === 1)
    expect(a.log).not.toContain(`gone ${b.origin}`)
  })

  it("keeps a link on which nobody has anything to say", async () => {
    const a = await join({ livenessMs: 120 })
    const b = await beside(a, { livenessMs: 120 })
    await linked(a, b)
    const quietUntilMs = performance.now() + 500 // four times what would be silence
    await until(() => performance.now() > quietUntilMs)
    expect([logOf(a, "down"), logOf(b, "down")]).toEqual([[], []])
  })
})

describe("TLS", () => {
  const tls = (who: string) => {
    const file = (kind: string) => readFileSync(new URL(`certificates/${who}.${kind}.pem`, import.meta.url))
    return { key: file("key"), cert: file("cert"), ca: file("cert") }
  }

  it("links members whose certificates the authority has signed, and nobody else", async () => {
    const a = await join({ secret, tls: tls("ours") })
    const b = await beside(a, { secret, tls: tls("ours") })
    await linked(a, b)
    a.transport.send(b.origin, new Uint8Array(1_000_000).fill(7))
    await until(() => b.frames.length === 1)
    expect(b.frames[0]?.bytes.every((byte) => byte === 7)).toBe(true)

    const other = await beside(a, { secret, tls: tls("others") })
    await until(() => refused(a, "tls") >= 1)
    const plain = await beside(a, { secret })
    await until(() => refused(a, "tls") >= 2)
    await until(() => other.log.includes("settled") && plain.log.includes("settled"))
    expect([other.up.size, plain.up.size, a.up.size]).toEqual([0, 0, 1])
  })
})

describe("discovery", () => {
  it("finds the members at the addresses of a name, some of which nobody is at", async () => {
    const a = await join()
    const asked: string[] = []
    const resolve = async (name: string) => {
      asked.push(name)
      return ["127.0.0.2", "127.0.0.1"]
    }
    const b = await join({ dns: `members.test:${portOf(a)}`, resolve })
    await linked(a, b)
    await until(() => b.log.includes("settled"))
    expect(asked).toEqual(["members.test"])
    expect(b.log.indexOf(`up ${a.origin}`)).toBeLessThan(b.log.indexOf("settled"))
  })

  it("settles when a name has no answer", async () => {
    const a = await join({ dns: "members.test:7000", resolve: () => Promise.reject(new Error("no such name")) })
    await until(() => a.log.includes("settled"))
    expect(a.up.size).toBe(0)
  })

  it("learns of the others from the one that it is told of", async () => {
    const seed = await join({ secret })
    const others = [await beside(seed, { secret }), await beside(seed, { secret }), await beside(seed, { secret })]
    await linked(seed, ...others)
  })

  it("learns of the others also from one that does not want the link", async () => {
    const a = await join()
    const seed = await beside(a, { wants: ({ origin }) => origin === a.origin })
    await linked(a, seed)
    const b = await beside(seed)
    await until(() => b.up.has(a.origin))
    expect(seed.up.has(b.origin)).toBe(false)
  })

  it("keeps trying a seed that is not there yet", async () => {
    const before = await join()
    const address = addressOf(before)
    await before.close()
    const a = await join({ seeds: [address] })
    await until(() => a.log.includes("settled"))
    const late = await join({ port: Number(address.split(":")[1]) })
    await linked(a, late)
  })

  it("names each address that it was given and that does not answer, with the reason, once", async () => {
    const before = await join()
    const address = addressOf(before)
    await before.close()
    const nowhere = "nosuch.invalid:7700"
    const silent = await new Promise<Server>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => resolve(server))
    })
    const mute = `127.0.0.1:${(silent.address() as AddressInfo).port}`
    const a = await join({ seeds: ["127.0.0.1:9", address, nowhere, mute], handshakeTimeoutMs: 100 })
    await until(() => a.warnings.length >= 4 && refused(a, "slow") > 4)
    silent.close()
    const line = (peer: string, why: string) => `WARN the peer ${peer} does not answer (${why}): trying again`
    const [named, ...others] = [...a.warnings].sort((x, y) => Number(y.includes(nowhere)) - Number(x.includes(nowhere)))
    expect(named).toMatch(/^WARN the peer nosuch.invalid:7700 does not answer \((ENOTFOUND|EAI_AGAIN)\): trying again$/)
    expect(others.sort()).toEqual(
      [line("127.0.0.1:9", "ECONNREFUSED"), line(address, "ECONNREFUSED"), line(mute, "nothing came in time")].sort()
    )
  })

  it("has no line for a given address at which a member was that has ended", async () => {
    const first = await join()
    const a = await beside(first)
    await linked(a, first)
    await first.close()
    await until(() => a.log.includes(`gone ${first.origin}`))
    const quietUntilMs = performance.now() + 2_000 // the time of some ten attempts
    await until(() => performance.now() > quietUntilMs)
    const again = await join({ port: portOf(first) })
    await linked(a, again)
    expect(a.warnings).toEqual([])
  })

  it("has no secret and so does not dial beyond this host, whatever a beacon says", async () => {
    const beacon = { group: "239.255.77.112", port: 17_801 }
    const a = await join({ beacon })
    const socket = createSocket({ type: "udp4" })
    await new Promise<void>((resolve) => socket.bind(0, resolve))
    socket.setMulticastInterface("127.0.0.1")
    for (const address of ["10.0.0.1:22", "internal.example:80", "[2001:db8::1]:443"]) {
      const news = { origin: 2 ** 40, region: 0, address }
      socket.send(encodeBeacon(namespaceIdOf(namespace), undefined, news), beacon.port, beacon.group)
    }
    await until(() => refused(a, "insecure") === 3)
    socket.close()
    expect(counted(a, "refused_total", "by peer: error")).toBe(0)
    expect(logOf(a, "warning")).toEqual([])
  })

  it("refuses beacons that are forged or make no sense", async () => {
    const beacon = { group: "239.255.77.110", port: 17_799 }
    const a = await join({ secret, beacon })
    const b = await join({ secret, beacon })
    await linked(a, b)
    const socket = createSocket({ type: "udp4", reuseAddr: true })
    const genuine = await new Promise<Buffer>((resolve) => {
      socket.on("message", (bytes) => resolve(bytes))
      socket.bind(beacon.port, () => {
        socket.addMembership(beacon.group, "127.0.0.1")
        socket.setMulticastInterface("127.0.0.1")
      })
    })
    const forged = Buffer.from(genuine)
    forged[15] = (forged[15] as number) ^ 1
    for (const bytes of [forged, Buffer.from("hello"), genuine.subarray(0, 20)])
      socket.send(bytes, beacon.port, beacon.group)
    await until(() => refused(a, "beacon forged") >= 1 && refused(a, "beacon garbage") >= 2)
    socket.close()
    expect([...a.up.keys()]).toEqual([b.origin])
  })
})

describe("one link a peer", () => {
  it("keeps one when both dial at once, and tells of no other", async () => {
    const members = await Promise.all(Array.from({ length: 6 }, () => join({ beacon: true })))
    await linked(...members)
    await until(() => members.every((member) => linkNames(member).length === 5))
    for (const member of members) expect(logOf(member, "down", "gone")).toEqual([])
    const sum = (name: string) => members.reduce((total, member) => total + counted(member, name), 0)
    const before = sum("frames_total")
    for (const member of members) member.transport.broadcast(Uint8Array.of(1))
    await until(() => members.every((member) => member.frames.length === 5))
    expect(sum("frames_total") - before).toBe(6 * 5 * 2)
  })

  it("gives each a process, and one that is killed costs that link alone", async () => {
    const a = await join()
    const [b, c] = [await beside(a), await beside(a)]
    await linked(a, b, c)
    await until(() => linkNames(a).length === 2)
    const toB = linkNodes(a).find(({ name }) => name === `link to ${b.origin}`)
    kill(toB?.pid)
    await until(() => logOf(b, "up").filter((line) => line === `up ${a.origin}`).length === 2)
    await linked(a, b, c)
    expect(logOf(c, "down")).toEqual([])
    expect([...logOf(a, "gone"), ...logOf(b, "gone")]).toEqual([])
  })

  it("is cut and made anew where the listener throws at its news", async () => {
    const a = await join()
    let throws = 1
    const b = await beside(a, {
      wants: () => {
        if (throws-- > 0) throw new Error("thrown by the listener, for the test")
        return true
      }
    })
    await linked(a, b)
    expect(mesh(b)?.children.find(({ name }) => name === "keeper")?.restarts).toBe(1)
  })

  it("has a listener whose crash costs no link, and that is back on its port", async () => {
    const a = await join()
    const b = await beside(a)
    await linked(a, b)
    const address = addressOf(a)
    const listener = mesh(a)?.children.find(({ name }) => name === "listener")
    kill(listener?.pid)
    await until(() => mesh(a)?.children.find(({ name }) => name === "listener")?.pid !== listener?.pid)
    const c = await join({ seeds: [address] })
    await linked(a, b, c)
    expect([logOf(a, "down"), logOf(b, "down")]).toEqual([[], []])
  })
})

describe("who is gone", () => {
  it("a process ended by kill -9, as soon as its port refuses; one that is stopped is not", async () => {
    const children = await Promise.all([2 ** 45 + 1, 2 ** 45 + 2].map((origin) => startMeshProcess(namespace, origin)))
    const [killed, stopped] = children
    const a = await join({ beacon: true, livenessMs: 300 })
    await until(() => a.up.size === 2)
    stopped?.kill("SIGSTOP")
    killed?.kill("SIGKILL")
    await until(() => a.log.includes(`gone ${2 ** 45 + 1}`))
    await until(() => a.log.includes(`down ${2 ** 45 + 2}`))
    stopped?.kill("SIGCONT")
    await until(() => a.up.has(2 ** 45 + 2))
    expect(logOf(a, "gone")).toEqual([`gone ${2 ** 45 + 1}`])
    stopped?.kill("SIGKILL")
  })

  it("one whose address answers as another member", async () => {
    const first = await join()
    const a = await beside(first)
    await linked(a, first)
    const port = portOf(first)
    await first.close()
    const second = await join({ port })
    await until(() => a.up.has(second.origin))
    await until(() => a.log.includes(`gone ${first.origin}`))
    expect([...a.up.keys()]).toEqual([second.origin])
  })
})

describe("what it refuses to begin with", () => {
  const reasonOf = async (settings: Settings): Promise<string> => {
    const error = await join(settings).then(
      () => "none",
      (failure: unknown) => String(failure)
    )
    return error
  }

  it("names the option that makes no sense, and what would", async () => {
    expect(await reasonOf({ host: "0.0.0.0" })).toContain("it would listen on 0.0.0.0 without a secret")
    expect(await reasonOf({ seeds: ["10.0.0.1:7000"] })).toContain("seed 10.0.0.1:7000 is on another host")
    expect(await reasonOf({ seeds: ["here"] })).toContain('seed "here" is no host:port')
    expect(await reasonOf({ dns: "name" })).toContain('dns "name" is no name:port')
    expect(await reasonOf({ port: 70_000 })).toContain("port is 0 to 65535, not 70000")
    expect(await reasonOf({ secret: "short" })).toContain("a secret has 8 characters or more")
    expect(await reasonOf({ advertise: "http://a" })).toContain('advertise "http://a" is no host')
  })

  it("says that a port is taken", async () => {
    const a = await join()
    expect(await reasonOf({ port: portOf(a) })).toContain(
      `cannot listen on ${addressOf(a)}: the port is in use; stop what listens there, or choose another port`
    )
    expect(new TransportError({ transport: "mesh", reason: "x" }).message).toBe("coherence over mesh: x")
  })
})

const kill = (pid: string | null | undefined): void => {
  const victim = Process.list().find((each) => String(each) === pid)
  if (victim === undefined) throw new Error(`no process ${pid}`)
  Process.unsafeExit(victim, ExitReason.killed)
}

const mesh = (member: Member): Supervisor.TreeNode | undefined => member.tree()?.children[0]
const linkNodes = (member: Member): ReadonlyArray<Supervisor.TreeNode> => mesh(member)?.children[0]?.children ?? []
const linkNames = (member: Member) => linkNodes(member).map(({ name }) => name)
