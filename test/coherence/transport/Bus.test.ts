import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { type Broker, Bus, type BusConnection, type BusOptions } from "../../../src/coherence/transport/Bus.ts"
import { Member, type MemberOptions, text } from "./support/Member.ts"

/** A broker that delivers when it is told to, in order, and may be tampered with. */
class Wire {
  readonly queue: Array<{ readonly from: Bus; readonly channel: string; message: Uint8Array }> = []
  /** All messages that were ever delivered. */
  readonly seen: Array<{ readonly channel: string; readonly message: Uint8Array }> = []
  readonly buses: Bus[] = []
  unconfirmedBytes = 0

  join(options: MemberOptions, busOptions?: BusOptions): { member: Member; bus: Bus } {
    const broker: Broker = {
      name: "fake",
      address: "nowhere",
      channel: (...parts) => parts.join("."),
      isKept: () => false,
      connect: () => Effect.never
    }
    const member = new Member(options)
    const { namespace = "ns", origin, region = 0, secret } = options
    const bus = new Bus(broker, { origin, region, namespace, secret }, member, busOptions)
    member.transport = bus
    this.buses.push(bus)
    return { member, bus }
  }

  connect(bus: Bus, messageBytesMax = 1_000): void {
    const wire = this
    const connection: BusConnection = {
      messageBytesMax,
      get unconfirmedBytes() {
        return wire.unconfirmedBytes
      },
      publish: (channel, message) => void this.queue.push({ from: bus, channel, message })
    }
    bus.onUp(connection)
  }

  /** Delivers until nothing is left to deliver. */
  flow(isDelivered: (message: Uint8Array) => boolean = () => true): void {
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) {
      if (!isDelivered(next.message)) continue
      this.seen.push(next)
      for (const bus of this.buses) if (bus.channels.includes(next.channel)) bus.onMessage(next.message)
    }
  }
}

const linked = (secret?: string, busOptions?: BusOptions) => {
  const wire = new Wire()
  const options = secret === undefined ? {} : { secret }
  const a = wire.join({ origin: 1, ...options }, busOptions)
  const b = wire.join({ origin: 2, ...options }, busOptions)
  wire.connect(a.bus)
  wire.connect(b.bus)
  wire.flow()
  expect(a.member.events).toEqual(["up 2"])
  expect(b.member.events).toEqual(["up 1"])
  return { wire, a, b }
}

/** Two of which only the first wants the link. */
const wishing = () => {
  const wire = new Wire()
  const wanted = { byA: true, byB: false }
  const a = wire.join({ origin: 1, wantsLink: () => wanted.byA })
  const b = wire.join({ origin: 2, wantsLink: () => wanted.byB })
  wire.connect(a.bus)
  wire.connect(b.bus)
  wire.flow()
  return { wire, a, b, wanted }
}

describe("links over a bus", () => {
  it("come up once on both sides, however often both announce themselves", () => {
    const { a, b, wire } = linked()
    for (let tick = 0; tick < 10; tick++) {
      a.bus.tick()
      b.bus.tick()
      wire.flow()
    }
    expect(a.member.events).toEqual(["up 2"])
    expect(b.member.events).toEqual(["up 1"])
    expect(a.bus.links()).toEqual([{ origin: 2, region: 0, address: b.bus.address() }])
  })

  it("come up in the end, whichever messages of the handshake are lost", () => {
    for (let lost = 0; lost < 64; lost++) {
      const wire = new Wire()
      const a = wire.join({ origin: 1 })
      const b = wire.join({ origin: 2 })
      wire.connect(a.bus)
      wire.connect(b.bus)
      let count = 0
      wire.flow(() => ((lost >> count++) & 1) === 0)
      for (let tick = 0; tick < 3; tick++) {
        a.bus.tick()
        b.bus.tick()
        wire.flow()
      }
      expect(a.member.events).toEqual(["up 2"])
      expect(b.member.events).toEqual(["up 1"])
    }
  })

  it("go down when nothing was heard for three announcements, and come back with the next", () => {
    const { a, b, wire } = linked()
    for (let tick = 0; tick < 3; tick++) a.bus.tick()
    expect(a.member.events).toEqual(["up 2"])
    a.bus.tick()
    expect(a.member.events).toEqual(["up 2", "down 2"])
    expect(a.bus.send(2, text("lost"))).toBe(false)
    wire.queue.length = 0
    b.bus.tick()
    wire.flow()
    expect(a.member.events).toEqual(["up 2", "down 2", "up 2"])
  })

  it("go down and up when the peer has connected again, since frames may have been lost meanwhile", () => {
    const { a, b, wire } = linked("secret")
    b.bus.onDown(new Error("gone"))
    wire.connect(b.bus)
    wire.flow()
    expect(a.member.events).toEqual(["up 2", "down 2", "up 2"])
    expect(b.member.events).toEqual(["up 1", "down 1", "up 1"])
  })

  it("go down at once when the peer leaves", () => {
    const { a, b, wire } = linked()
    b.bus.leave()
    wire.flow()
    expect(a.member.events).toEqual(["up 2", "down 2"])
    expect(b.member.events).toEqual(["up 1", "down 1"])
  })

  it("are made when either side wants them, and go when neither does any more", async () => {
    const { wire, a, b, wanted } = wishing()
    expect(a.member.events).toEqual(["up 2"])
    expect(b.member.events).toEqual(["up 1"])
    wanted.byA = false
    a.bus.reconsider()
    expect(a.member.events).toEqual(["up 2"]) // not in this turn
    await new Promise(setImmediate)
    wire.flow()
    expect(a.member.events).toEqual(["up 2", "down 2"])
    expect(b.member.events).toEqual(["up 1", "down 1"])
    wanted.byB = true
    b.bus.reconsider()
    await new Promise(setImmediate)
    wire.flow()
    expect(a.bus.links().length).toBe(1)
    expect(b.bus.links().length).toBe(1)
  })

  it("go also where the one that wanted them first does no more, and the other one has begun and ended since", async () => {
    const { wire, a, b, wanted } = wishing()
    const wish = async (whose: "byA" | "byB", isWanted: boolean, isDelivered = true) => {
      wanted[whose] = isWanted
      for (const { bus } of [a, b]) bus.reconsider()
      await new Promise(setImmediate)
      wire.flow(() => isDelivered)
    }
    const links = () => [a.bus.links().length, b.bus.links().length]
    await wish("byB", true)
    await wish("byA", false)
    expect(links()).toEqual([1, 1]) // b still wants it, and a knows
    await wish("byB", false, false)
    expect(links()).toEqual([1, 0]) // what would have told a is lost
    a.bus.send(2, text("still there?"))
    a.bus.send(2, text("hello?"))
    expect(wire.queue).toHaveLength(2)
    wire.flow()
    expect(links()).toEqual([0, 0])
    expect(wire.seen.slice(-3)).toHaveLength(3)
  })

  it("end, that one alone, when the listener throws at a frame", () => {
    const wire = new Wire()
    const a = wire.join({
      origin: 1,
      onFrame: (_, from) => {
        if (from === 2) throw new Error("a defect of the listener")
      }
    })
    const b = wire.join({ origin: 2 })
    const c = wire.join({ origin: 3 })
    for (const { bus } of [a, b, c]) wire.connect(bus)
    wire.flow()
    b.bus.broadcast(text("bad"))
    c.bus.broadcast(text("good"))
    wire.flow()
    expect(a.bus.links().map(({ origin }) => origin)).toEqual([3])
    expect(a.member.events).toContain("frame 3 good")
    expect(a.member.metric("mimosa_coherence_links_lost_total", "failed")).toBe(1)
  })

  it("of a region get broadcasts once, those of others what was sent to them", () => {
    const wire = new Wire()
    const members = [0, 0, 5].map((region, index) => wire.join({ origin: index + 1, region }))
    for (const { bus } of members) wire.connect(bus)
    wire.flow()
    wire.seen.length = 0
    const [a, b, c] = members as [(typeof members)[0], (typeof members)[0], (typeof members)[0]]
    a.bus.broadcast(text("news"))
    wire.flow()
    expect(wire.seen.map(({ channel }) => channel).sort()).toEqual(["ns.0.all", "ns.to.3"])
    for (const { member } of [b, c]) expect(member.frames.length).toBe(1)
    expect(a.member.frames).toEqual([])
  })
})

describe("broadcasts in a region of which most members are no links", () => {
  it("go to the links alone", () => {
    const wire = new Wire()
    const members = Array.from({ length: 8 }, (_, index) => {
      const group = index % 4
      return wire.join({ origin: index + 1, wantsLink: ({ origin }) => (origin - 1) % 4 === group })
    })
    for (const { bus } of members) wire.connect(bus)
    wire.flow()
    wire.seen.length = 0
    members[0]?.bus.broadcast(text("of my group"))
    wire.flow()
    expect(wire.seen.map(({ channel }) => channel)).toEqual(["ns.to.5"])
    expect(members.map(({ member }) => member.frames.length)).toEqual([0, 0, 0, 0, 1, 0, 0, 0])
  })
})

describe("frames over a bus", () => {
  it("longer than a message are cut and put together, also when their parts arrive in another order", () => {
    const { a, b, wire } = linked("secret")
    const frame = Uint8Array.from({ length: 10_000 }, (_, index) => index % 251)
    a.bus.send(2, frame)
    expect(wire.queue.length).toBe(11)
    wire.queue.reverse()
    wire.flow()
    expect(b.member.frames.map(({ frame }) => [...frame])).toEqual([[...frame]])
  })

  it("are carried up to frameBytesMax and refused beyond", () => {
    const { a, b, wire } = linked(undefined, { frameBytesMax: 5_000 })
    expect(a.bus.send(2, new Uint8Array(5_000))).toBe(true)
    expect(a.bus.send(2, new Uint8Array(5_001))).toBe(false)
    a.bus.broadcast(new Uint8Array(5_001))
    wire.flow()
    expect(b.member.frames.map(({ frame }) => frame.length)).toEqual([5_000])
    expect(a.member.metric("mimosa_coherence_frames_lost_total", "too long")).toBe(2)
  })

  it("that a peer never finishes are bounded in number and bytes", () => {
    const { a, b, wire } = linked(undefined, { frameBytesMax: 20_000 })
    for (let count = 0; count < 1_000; count++) {
      a.bus.send(2, new Uint8Array(20_000))
      wire.queue.pop() // its last part
      wire.flow()
    }
    expect(b.member.frames).toEqual([])
    expect(b.member.metric("mimosa_coherence_refused_total", "parts")).toBeGreaterThan(990)
    a.bus.send(2, new Uint8Array(20_000))
    wire.flow()
    expect(b.member.frames.length).toBe(1)
  })

  it("are dropped and counted when the broker does not confirm, and the writer goes on", () => {
    const { a, wire } = linked(undefined, { outgoingBytesMax: 1_000 })
    wire.unconfirmedBytes = 990
    expect(a.bus.send(2, new Uint8Array(100))).toBe(true)
    a.bus.broadcast(new Uint8Array(100))
    expect(wire.queue).toEqual([])
    expect(a.member.metric("mimosa_coherence_frames_lost_total", "full")).toBe(2)
    wire.unconfirmedBytes = 0
    a.bus.broadcast(new Uint8Array(100))
    expect(wire.queue.length).toBe(1)
  })

  it("of another secret, of none and of nobody are refused and counted", () => {
    const wire = new Wire()
    const a = wire.join({ origin: 1, secret: "right" })
    const others = [wire.join({ origin: 2, secret: "wrong" }), wire.join({ origin: 3 })]
    const warnings: string[] = []
    a.bus.reportTo(() => {}, { warn: (line) => warnings.push(line), info: () => {} })
    for (const { bus } of [a, ...others]) wire.connect(bus)
    wire.flow()
    a.bus.onMessage(text("what is this that comes along here"))
    expect(warnings).toEqual([
      expect.stringMatching(/^somebody on .* with another secret, or one of the two has none$/)
    ])
    for (const { member } of [a, ...others]) expect(member.events).toEqual([])
    expect(a.member.metric("mimosa_coherence_refused_total", "forged")).toBe(1)
    expect(a.member.metric("mimosa_coherence_refused_total", "unsigned")).toBe(1)
    expect(others[1]?.member.metric("mimosa_coherence_refused_total", "signed")).toBeGreaterThan(0)
    expect(a.member.metric("mimosa_coherence_refused_total", "version")).toBe(1)
  })

  it("that were recorded are taken neither again, nor by who comes later, nor when their author is gone", () => {
    const { a, b, wire } = linked("secret")
    a.bus.broadcast(text("once"))
    wire.flow()
    const recorded = wire.seen.map(({ message }) => message)
    for (const message of recorded) b.bus.onMessage(message)
    wire.flow()
    expect(b.member.events).toEqual(["up 1", "frame 1 once"])

    a.bus.leave()
    a.bus.close()
    wire.buses.splice(0, 1)
    const c = wire.join({ origin: 3, secret: "secret" })
    wire.connect(c.bus)
    wire.flow()
    for (let tick = 0; tick < 3; tick++) {
      for (const message of recorded) {
        b.bus.onMessage(message)
        c.bus.onMessage(message)
      }
      wire.flow()
    }
    expect(c.member.events).toEqual(["up 2"])
    expect(b.member.events).toEqual(["up 1", "frame 1 once", "down 1", "up 3"])
  })

  it("of other namespaces do not come, though the channel is the same", () => {
    const { a, b, wire } = linked("secret")
    const stranger = wire.join({ origin: 9, namespace: "other", secret: "secret" })
    wire.connect(stranger.bus)
    for (const { message } of wire.queue.splice(0)) {
      a.bus.onMessage(message)
      b.bus.onMessage(message)
    }
    expect(wire.queue).toEqual([])
    expect(a.member.metric("mimosa_coherence_refused_total", "forged")).toBe(1)
  })

  it("that are random bytes change nothing", () => {
    const { a, wire } = linked()
    let state = 1
    const random = () => {
      state = (state * 48_271) % 2_147_483_647
      return state
    }
    for (let count = 0; count < 5_000; count++) {
      const bytes = Uint8Array.from({ length: random() % 80 }, () => random() & 255)
      if (count % 2 === 0) bytes.set([1, 1 + (random() % 4), 0, 0, 0, 0, 0, 0, 0, 2].slice(0, bytes.length))
      a.bus.onMessage(bytes)
      wire.queue.length = 0
    }
    expect(a.member.events.filter((event) => !event.startsWith("frame"))).toEqual(expect.arrayContaining(["up 2"]))
    expect(a.member.metric("mimosa_coherence_refused_total")).toBeGreaterThan(2_000)
  })
})

describe("the broker", () => {
  it("is told to be away and back, once each: links go down before and come up after", () => {
    const { a, wire } = linked()
    expect(a.member.carrier).toEqual(["up nowhere with 0 links"])
    for (let attempt = 0; attempt < 3; attempt++) {
      a.bus.onDown(new Error("closed"))
      a.bus.onAway(new Error("refused"))
      a.bus.tick()
    }
    expect(a.member.carrier.slice(1)).toEqual(["down nowhere with 0 links"])
    wire.connect(a.bus)
    wire.flow()
    expect(a.member.carrier.slice(2)).toEqual(["up nowhere with 0 links"])
    expect(a.member.events).toEqual(["up 2", "down 2", "up 2"])
  })

  it("is told to be away when the first attempt has come to nothing", () => {
    const { bus, member } = new Wire().join({ origin: 1 })
    expect(member.carrier).toEqual([])
    bus.onAway(new Error("refused"))
    expect(member.carrier).toEqual(["down nowhere with 0 links"])
  })

  it("is not told to be away by who leaves, or is closed", () => {
    const { a, b } = linked()
    a.bus.leave()
    a.bus.onDown(new Error("closed"))
    b.bus.close()
    b.bus.onDown(new Error("closed"))
    expect([...a.member.carrier, ...b.member.carrier]).toEqual(["up nowhere with 0 links", "up nowhere with 0 links"])
  })

  it("is told outside of what the listener calls", async () => {
    const { a } = linked()
    a.bus.onDown(new Error("closed"))
    const told = a.member.carrier.length
    a.bus.send(2, text("lost"))
    a.bus.broadcast(text("lost"))
    a.bus.reconsider()
    expect(a.member.carrier.length).toBe(told)
  })
})

describe("a bus that is not connected", () => {
  it("drops and counts what is sent, and does not say that discovery is over", () => {
    const wire = new Wire()
    const a = wire.join({ origin: 1 })
    a.bus.broadcast(text("nobody hears"))
    expect(a.bus.send(2, text("nobody"))).toBe(false)
    expect(a.bus.settle()).toBe(false)
    expect(a.member.events).toEqual([])
    expect(a.member.metric("mimosa_coherence_frames_lost_total", "down")).toBe(1)
    wire.connect(a.bus)
    expect(a.bus.settle()).toBe(true)
    expect(a.bus.settle()).toBe(true)
    expect(a.member.events).toEqual(["settled"])
  })
})
