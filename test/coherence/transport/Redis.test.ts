import { Context, Effect, Layer } from "effect"
import { afterAll, afterEach, beforeAll, expect, it } from "vitest"
import * as Redis from "../../../src/coherence/transport/Redis.ts"
import { CoherenceTransport } from "../../../src/coherence/transport/Transport.ts"
import { coherenceTransportContract } from "../../contracts/coherenceTransport.ts"
import { describeWithRedis } from "../../servers/describeWith.ts"
import * as Port from "../../servers/Port.ts"
import { type RedisServer, redisCli, startRedis } from "../../servers/Redis.ts"
import { type Member, type MemberOptions, startMember } from "./support/Member.ts"
import { startMemberProcess } from "./support/memberProcess.ts"

const quick: Redis.RedisOptions = {
  presenceInterval: "50 millis",
  settleTime: "50 millis",
  reconnectDelay: "10 millis"
}

/** A frame of a type: 1 is INV, which the stream keeps. */
const frame = (type: number, text: string): Uint8Array => Uint8Array.of(1, type, ...Buffer.from(text))
const shown = (type: number, text: string): string => `\x01${String.fromCharCode(type)}${text}`

describeWithRedis("Redis", () => {
  let server: RedisServer
  let worlds = 0
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  coherenceTransportContract("Redis", {
    makeWorld: Effect.gen(function* () {
      const services = yield* Layer.build(
        Redis.layer(`redis://127.0.0.1:${server.port}`, { ...quick, prefix: `contract-${++worlds}` })
      )
      return Context.get(services, CoherenceTransport).open
    }),
    skips: { gone: "a broker tells who is silent, not who has ended; what was killed on this host is known, below" }
  })
})

describeWithRedis("coherence over Redis", () => {
  let server: RedisServer
  const members: Member[] = []
  const urlOf = ({ port }: { readonly port: number }, credentials = "") => `redis://${credentials}127.0.0.1:${port}`
  const join = async (options: MemberOptions, redisOptions = quick, url = urlOf(server)) => {
    const member = await startMember(Redis.layer(url, redisOptions), options)
    members.push(member)
    return member
  }
  const stopAll = async () => {
    for (const member of members.splice(0)) await member.stop()
  }

  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())
  afterEach(stopAll)

  it("links members of one namespace, and says that discovery is over", async () => {
    const a = await join({ origin: 1, secret: "s" })
    await a.saw("settled")
    expect(a.events).toEqual(["settled"])
    const b = await join({ origin: 2, secret: "s" })
    await Promise.all([a.saw("up 2"), b.saw("up 1")])
    a.transport.broadcast(frame(2, "to all"))
    b.transport.send(1, frame(2, "to you"))
    await Promise.all([a.saw(`frame 2 ${shown(2, "to you")}`), b.saw(`frame 1 ${shown(2, "to all")}`)])
    expect(a.frames.length).toBe(1) // not its own, which Redis echoes
    await b.stop()
    await a.saw("down 2")
  })

  it("keeps two namespaces on one server apart, whatever characters they have", async () => {
    const names = ["shop", "shop:0", "shop%3a0", "*", "shop:0:all"]
    for (const [index, namespace] of names.entries()) {
      await join({ origin: 10 * index + 1, namespace })
      await join({ origin: 10 * index + 2, namespace })
    }
    for (const [index] of names.entries()) {
      const [a, b] = members.slice(2 * index, 2 * index + 2) as [Member, Member]
      await Promise.all([a.saw(`up ${10 * index + 2}`), b.saw(`up ${10 * index + 1}`)])
      a.transport.broadcast(frame(1, `of ${index}`))
      await b.saw(`frame ${10 * index + 1} ${shown(1, `of ${index}`)}`)
    }
    for (const member of members) expect(member.transport.links().length).toBe(1)
    expect(members.map(({ frames }) => frames.length)).toEqual(names.flatMap(() => [0, 1]))
  })

  it("carries large frames in parts", async () => {
    const a = await join({ origin: 1, secret: "s" })
    const b = await join({ origin: 2, secret: "s" })
    await a.saw("up 2")
    const large = Uint8Array.from({ length: 5_000_000 }, (_, index) => (index * 7) % 256)
    expect(a.transport.send(2, large)).toBe(true)
    await b.until(() => b.frames.length === 1)
    expect(Buffer.compare(b.frames[0]?.frame as Uint8Array, large)).toBe(0)
  })

  it("takes links down with the server, never blocks a writer meanwhile, and brings them up when it is back", async () => {
    const port = await Port.free()
    const first = await startRedis({ port })
    const a = await join({ origin: 1 }, quick, urlOf({ port }))
    const b = await join({ origin: 2 }, quick, urlOf({ port }))
    await Promise.all([a.saw("up 2"), b.saw("up 1")])
    await first.stop()
    await Promise.all([a.saw("down 2"), b.saw("down 1")])
    for (let count = 0; count < 10_000; count++) a.transport.broadcast(frame(1, "into the void"))
    expect(a.metric("mimosa_coherence_frames_lost_total", "down")).toBe(10_000)
    const second = await startRedis({ port })
    try {
      await Promise.all([a.saw("up 2", 2), b.saw("up 1", 2)])
      const url = urlOf({ port })
      const up = `up ${url} with 0 links`
      expect(a.carrier).toEqual([up, `down ${url} with 0 links`, up])
      // The system says either that the connection was closed, or that it was reset.
      const lost = /^WARN redis:\S+ does not answer \((Socket closed unexpectedly|ECONNRESET)\): trying again$/
      expect(a.logs).toEqual([expect.stringMatching(lost), `INFO ${url} is back`])
      a.transport.broadcast(frame(1, "back"))
      await b.saw(`frame 1 ${shown(1, "back")}`)
      expect(b.frames.length).toBe(1)
    } finally {
      await stopAll()
      await second.stop()
    }
  })

  it("brings from the stream what was written while the subscription was cut, once each, and no heartbeats", async () => {
    for (const secret of [undefined, "s"]) {
      const namespace = `away-${secret}`
      const options = secret === undefined ? { namespace } : { namespace, secret }
      const a = await join({ origin: 1, ...options })
      const b = await join({ origin: 2, ...options }, { ...quick, reconnectDelay: "300 millis" })
      await Promise.all([a.saw("up 2"), b.saw("up 1")])
      a.transport.broadcast(frame(1, "before"))
      await b.saw(`frame 1 ${shown(1, "before")}`)
      // b's subscription is the newer of the two.
      const clients = await redisCli(server.port, ["CLIENT", "LIST", "TYPE", "pubsub"])
      const ids = [...clients.matchAll(/id=(\d+)/g)].map(([, id]) => Number(id))
      await redisCli(server.port, ["CLIENT", "KILL", "ID", String(Math.max(...ids))])
      await b.saw("down 1")
      for (let count = 0; count < 600; count++) a.transport.broadcast(frame(1, `away ${count}`))
      a.transport.broadcast(frame(2, "a heartbeat"))
      await b.saw("up 1", 2)
      await b.until(() => b.frames.length >= 601)
      a.transport.broadcast(frame(1, "after"))
      await b.saw(`frame 1 ${shown(1, "after")}`)
      expect(b.frames.map(({ frame }) => Buffer.from(frame.subarray(2)).toString())).toEqual([
        "before",
        ...Array.from({ length: 600 }, (_, count) => `away ${count}`),
        "after"
      ])
      await stopAll()
    }
  })

  it("has what an instance wrote that died before the others were back", async () => {
    const a = await join({ origin: 1, namespace: "died" })
    const b = await join({ origin: 2, namespace: "died" }, { ...quick, reconnectDelay: "300 millis" })
    await Promise.all([a.saw("up 2"), b.saw("up 1")])
    const clients = await redisCli(server.port, ["CLIENT", "LIST", "TYPE", "pubsub"])
    const ids = [...clients.matchAll(/id=(\d+)/g)].map(([, id]) => Number(id))
    await redisCli(server.port, ["CLIENT", "KILL", "ID", String(Math.max(...ids))])
    await b.saw("down 1")
    a.transport.broadcast(frame(1, "last words"))
    await a.stop()
    await b.saw(`frame 1 ${shown(1, "last words")}`)
    expect(b.transport.links()).toEqual([])
  })

  it("trims the stream, and lets it go when nobody uses it", async () => {
    const a = await join({ origin: 1, namespace: "trim" }, { ...quick, streamLengthMax: 100 })
    await a.saw("settled")
    for (let count = 0; count < 2_000; count++) a.transport.broadcast(frame(1, "x"))
    const key = "mimosa:trim:0:log"
    const number = async (...args: string[]) => Number(await redisCli(server.port, args))
    let pttl = -1
    while (pttl < 0) pttl = await number("PTTL", key) // set by the next look at the stream, within a second
    expect(pttl).toBeLessThanOrEqual(3_600_000)
    const length = await number("XLEN", key)
    expect(length).toBeGreaterThanOrEqual(100)
    expect(length).toBeLessThan(400) // whole nodes of 100 go
  })

  it("keeps no stream when it is told to", async () => {
    const a = await join({ origin: 1, namespace: "none" }, { ...quick, streamLengthMax: 0 })
    const b = await join({ origin: 2, namespace: "none" }, { ...quick, streamLengthMax: 0 })
    await Promise.all([a.saw("up 2"), b.saw("up 1")])
    a.transport.broadcast(frame(1, "x"))
    await b.saw(`frame 1 ${shown(1, "x")}`)
    expect(await redisCli(server.port, ["KEYS", "mimosa:none:*"])).toBe("\n")
  })

  it("keeps trying when the server is not there at the start, says so, and has not joined until then", async () => {
    const port = await Port.free()
    const a = await join({ origin: 1 }, quick, urlOf({ port }))
    await a.until(() => a.logs.length > 0)
    expect(a.logs).toEqual([`WARN ${urlOf({ port })} does not answer (ECONNREFUSED): trying again`])
    expect(a.carrier).toEqual([`down ${urlOf({ port })} with 0 links`])
    expect(a.events).toEqual([])
    const late = await startRedis({ port })
    try {
      const b = await join({ origin: 2 }, quick, urlOf({ port }))
      await Promise.all([a.saw("up 2"), b.saw("up 1"), a.saw("settled")])
      expect(a.logs.slice(1)).toEqual([`INFO ${urlOf({ port })} is back`])
    } finally {
      await stopAll()
      await late.stop()
    }
  })

  it("is refused with a wrong password and linked with the right one", async () => {
    const guarded = await startRedis({ requirepass: "p:w/@" })
    try {
      const wrong = await join({ origin: 9 }, quick, urlOf(guarded, ":wrong@"))
      const a = await join({ origin: 1 }, quick, urlOf(guarded, ":p%3Aw%2F%40@"))
      const b = await join({ origin: 2 }, { ...quick, password: "p:w/@" }, urlOf(guarded))
      await Promise.all([a.saw("up 2"), b.saw("up 1")])
      await wrong.until(() => wrong.logs.some((line) => line.includes("WRONGPASS")))
      expect(wrong.events).toEqual([])
      expect(wrong.logs).toHaveLength(1)
      expect(wrong.logs[0]).toMatch(/^WARN redis:..127.0.0.1:\d+ cannot be used .WRONGPASS/)
      expect([...wrong.logs, ...wrong.carrier].join()).not.toContain("wrong")
    } finally {
      await stopAll()
      await guarded.stop()
    }
  })

  it("knows of a process on this host that was killed that it is gone", async () => {
    const a = await join({ origin: 1 })
    const other = await startMemberProcess({ transport: "redis", url: urlOf(server), origin: 2 })
    await a.saw("up 2")
    other.kill()
    await a.saw("gone 2")
    expect(a.events.filter((event) => event !== "settled")).toEqual(["up 2", "down 2", "gone 2"])
  })

  it("refuses a URL that is none of Redis", async () => {
    const failed = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(Redis.layer("nats://127.0.0.1")))))
    expect(failed.message).toContain("coherence over redis: the URL should be redis://")
  })
})
