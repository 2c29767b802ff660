import { Context, Effect, Layer } from "effect"
import { afterAll, afterEach, beforeAll, expect, it } from "vitest"
import { optionalPackage } from "../../../src/coherence/transport/internal/optionalPackage.ts"
import * as Nats from "../../../src/coherence/transport/Nats.ts"
import { CoherenceTransport } from "../../../src/coherence/transport/Transport.ts"
import { coherenceTransportContract } from "../../contracts/coherenceTransport.ts"
import { describeWithNats } from "../../servers/describeWith.ts"
import { type NatsServer, startNats } from "../../servers/Nats.ts"
import * as Port from "../../servers/Port.ts"
import { type Member, type MemberOptions, startMember, text } from "./support/Member.ts"
import { startMemberProcess } from "./support/memberProcess.ts"

const fast: Nats.NatsOptions = { presenceInterval: "50 millis", settleTime: "50 millis", reconnectDelay: "10 millis" }
const quick: Nats.NatsOptions = { ...fast, connection: { reconnectTimeWait: 10, reconnectJitter: 10 } }

describeWithNats("NATS", () => {
  let server: NatsServer
  let worlds = 0
  beforeAll(async () => {
    server = await startNats()
  })
  afterAll(() => server.stop())

  coherenceTransportContract("Nats", {
    makeWorld: Effect.gen(function* () {
      const services = yield* Layer.build(Nats.layer(server.url, { ...quick, prefix: `contract-${++worlds}` }))
      return Context.get(services, CoherenceTransport).open
    }),
    skips: { gone: "a broker tells who is silent, not who has ended; what was killed on this host is known, below" }
  })
})

describeWithNats("coherence over NATS", () => {
  let server: NatsServer
  const members: Member[] = []
  const join = async (options: MemberOptions, natsOptions: Nats.NatsOptions = quick, url = server.url) => {
    const member = await startMember(Nats.layer(url, natsOptions), options)
    members.push(member)
    return member
  }

  beforeAll(async () => {
    server = await startNats()
  })
  afterAll(() => server.stop())
  afterEach(async () => {
    for (const member of members.splice(0)) await member.stop()
  })

  it("links members of one namespace, and says that discovery is over", async () => {
    const a = await join({ origin: 1, secret: "s" })
    await a.saw("settled")
    expect(a.events).toEqual(["settled"])
    const b = await join({ origin: 2, secret: "s" })
    await Promise.all([a.saw("up 2"), b.saw("up 1")])
    a.transport.broadcast(text("to all"))
    b.transport.send(1, text("to you"))
    await Promise.all([a.saw("frame 2 to you"), b.saw("frame 1 to all")])
    await b.stop()
    await a.saw("down 2")
  })

  it("keeps two namespaces on one server apart, whatever characters they have", async () => {
    const names = ["shop", "shop.eu", "shop%2eeu", "shop >", "*", ">"]
    const pairs = await Promise.all(
      names.map(async (namespace, index) => [
        await join({ origin: 10 * index + 1, namespace }),
        await join({ origin: 10 * index + 2, namespace })
      ])
    )
    for (const [index, [a, b]] of pairs.entries()) {
      await a?.saw(`up ${10 * index + 2}`)
      await b?.saw(`up ${10 * index + 1}`)
      a?.transport.broadcast(text(`of ${index}`))
    }
    for (const [index, [a, b]] of pairs.entries()) {
      await b?.saw(`frame ${10 * index + 1} of ${index}`)
      expect(a?.transport.links().map(({ origin }) => origin)).toEqual([10 * index + 2])
      expect(b?.frames.length).toBe(1)
    }
  })

  it("carries frames beyond the server's max_payload in parts", async () => {
    const small = await startNats({ config: "max_payload: 4KB" })
    try {
      const a = await join({ origin: 1, secret: "s" }, quick, small.url)
      const b = await join({ origin: 2, secret: "s" }, quick, small.url)
      await a.saw("up 2")
      const frame = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7) % 256)
      expect(a.transport.send(2, frame)).toBe(true)
      await b.until(() => b.frames.length === 1)
      expect(Buffer.compare(b.frames[0]?.frame as Uint8Array, frame)).toBe(0)
    } finally {
      for (const member of members.splice(0)) await member.stop()
      await small.stop()
    }
  })

  it("takes links down with the server, never blocks a writer meanwhile, and brings them up when it is back", async () => {
    const port = await Port.free()
    const first = await startNats({ port })
    const a = await join({ origin: 1 }, quick, first.url)
    const b = await join({ origin: 2 }, quick, first.url)
    await Promise.all([a.saw("up 2"), b.saw("up 1")])
    await first.stop()
    await Promise.all([a.saw("down 2"), b.saw("down 1")])
    const lostBefore = a.metric("mimosa_coherence_frames_lost_total")
    for (let count = 0; count < 10_000; count++) a.transport.broadcast(text("into the void"))
    expect(a.metric("mimosa_coherence_frames_lost_total", "down") - lostBefore).toBe(10_000)
    const second = await startNats({ port })
    try {
      await Promise.all([a.saw("up 2", 2), b.saw("up 1", 2)])
      const up = `up ${first.url} with 0 links`
      expect(a.carrier).toEqual([up, `down ${first.url} with 0 links`, up])
      expect(a.logs).toEqual([
        expect.stringMatching(/^WARN nats:\S+ does not answer \((the connection was lost|ECONNRESET)\): trying again$/),
        `INFO ${first.url} is back`
      ])
      a.transport.broadcast(text("back"))
      await b.saw("frame 1 back")
      expect(b.frames.length).toBe(1)
    } finally {
      for (const member of members.splice(0)) await member.stop()
      await second.stop()
    }
  })

  it("keeps trying when the server is not there at the start, and has not joined until then", async () => {
    const port = await Port.free()
    const url = `nats://127.0.0.1:${port}`
    const [a, b] = await Promise.all([join({ origin: 1 }, quick, url), join({ origin: 2 }, quick, url)])
    a.transport.broadcast(text("nobody"))
    await a.until(() => a.carrier.length > 0)
    expect(a.carrier).toEqual([`down ${url} with 0 links`])
    expect([...a.events, ...b.events]).toEqual([])
    const server = await startNats({ port })
    try {
      await Promise.all([a.saw("up 2"), b.saw("up 1"), a.saw("settled"), b.saw("settled")])
      expect(a.carrier.slice(1)).toEqual([`up ${url} with 0 links`])
      expect(a.logs).toEqual([`WARN ${url} does not answer (ECONNREFUSED): trying again`, `INFO ${url} is back`])
    } finally {
      for (const member of members.splice(0)) await member.stop()
      await server.stop()
    }
  })

  it("is refused with wrong credentials and linked with right ones, by user or by token", async () => {
    const guarded = await startNats({ config: 'authorization { user: "u", password: "p:w/@" }' })
    const tokened = await startNats({ config: 'authorization { token: "t0ken" }' })
    const at = ({ port }: NatsServer, credentials: string) => `nats://${credentials}@127.0.0.1:${port}`
    try {
      const wrong = await join({ origin: 9 }, quick, at(guarded, "u:wrong"))
      const a = await join({ origin: 1 }, quick, at(guarded, "u:p%3Aw%2F%40"))
      const b = await join({ origin: 2 }, quick, at(guarded, "u:p%3Aw%2F%40"))
      await Promise.all([a.saw("up 2"), b.saw("up 1")])
      const c = await join({ origin: 3 }, quick, at(tokened, "t0ken"))
      await c.saw("settled")
      await wrong.until(() => wrong.logs.some((line) => line.includes("Authorization Violation")))
      expect(wrong.logs[0]).toBe(
        `WARN ${at(guarded, "").replace("@", "")} cannot be used (Authorization Violation): trying again`
      )
      expect([...wrong.logs, ...wrong.carrier].join()).not.toContain("wrong")
      expect(wrong.events).toEqual([])
      expect(guarded.log()).toContain("authentication error")
    } finally {
      for (const member of members.splice(0)) await member.stop()
      await guarded.stop()
      await tokened.stop()
    }
  })

  it("does not link members of different secrets", async () => {
    const a = await join({ origin: 1, secret: "right" })
    const b = await join({ origin: 2, secret: "wrong" })
    await a.until(() => a.metric("mimosa_coherence_refused_total", "forged") > 2)
    await b.until(() => b.metric("mimosa_coherence_refused_total", "forged") > 2)
    expect([...a.events, ...b.events].filter((event) => event !== "settled")).toEqual([])
  })

  it("knows of a process on this host that was killed that it is gone", async () => {
    const a = await join({ origin: 1 })
    const other = await startMemberProcess({ transport: "nats", url: server.url, origin: 2 })
    await a.saw("up 2")
    other.kill()
    await a.saw("gone 2")
    expect(a.events.filter((event) => event !== "settled")).toEqual(["up 2", "down 2", "gone 2"])
  })

  it("refuses a URL that is none of NATS, and a prefix that is no subject", async () => {
    for (const [url, options] of [
      ["http://127.0.0.1:4222", {}],
      ["nats-1", {}],
      [server.url, { prefix: "a b" }],
      [server.url, { prefix: "a.>" }]
    ] as const) {
      const failed = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(Nats.layer(url, options)))))
      expect(failed.message).toContain("coherence over nats: the URL should be nats://")
    }
  })

  it("names the package to install when it is missing", async () => {
    const name = "@nats-io/not-there"
    const failed = await Effect.runPromise(Effect.flip(optionalPackage("nats", name, () => import(name))))
    expect(failed.transport).toBe("nats")
    expect(failed.message).toContain("npm install @nats-io/not-there")
  })
})
