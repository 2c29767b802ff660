/**
 * What every transport of coherence has to do, told as a suite: call `coherenceTransportContract` in a test file of the
 * transport, with a way to open members that can find each other.
 *
 * Everything is shown by what listeners are told, in order; nothing by how long it took.
 */
import { Effect, ExecutionStrategy, Exit, Logger, LogLevel, Scope } from "effect"
import { afterEach, describe, expect, it } from "vitest"
import { Supervisor } from "../../src/actor/index.ts"
import type { PeerInfo, Transport, TransportListener, TransportSelf } from "../../src/coherence/transport/Transport.ts"
import { MetricRegistry } from "../../src/telemetry/index.ts"

/** Opens a transport in the scope. Its children are started by the suite. */
export type OpenTransport = (
  self: TransportSelf,
  listener: TransportListener
) => Effect.Effect<Transport, unknown, Scope.Scope>

export interface ContractOptions {
  /** Called once for each test; what it acquires is released after it. */
  readonly makeWorld: Effect.Effect<OpenTransport, unknown, Scope.Scope>
  /** Promises that this transport cannot keep, and why. */
  readonly skips?: Partial<Record<"gone" | "secret" | "restart", string>>
}

export const coherenceTransportContract = (name: string, options: ContractOptions): void => {
  describe(`${name} keeps the contract of a coherence transport`, () => {
    let world: Scope.CloseableScope | null = null
    let open: OpenTransport | null = null
    const namespaceHere = `ns_${Math.random().toString(36).slice(2)}`

    const member = async (
      self: Partial<TransportSelf> = {},
      wantsLink: (peer: PeerInfo) => boolean = () => true
    ): Promise<Member> => {
      if (world === null || open === null) {
        world = Effect.runSync(Scope.make())
        open = await quietly(Scope.extend(options.makeWorld, world))
      }
      const full = { origin: nextOrigin++, region: 0, namespace: namespaceHere, secret: undefined, ...self }
      return openMember(open, full, wantsLink, world)
    }
    const linked = async (...members: Member[]): Promise<void> => {
      for (const each of members) await until(() => each.up.size === members.length - 1)
    }
    const unless = (promise: keyof NonNullable<ContractOptions["skips"]>): typeof it => {
      const reason = options.skips?.[promise]
      if (reason === undefined) return it
      return ((sentence: string) => it.skip(`${sentence} (${reason})`, () => {})) as unknown as typeof it
    }

    afterEach(async () => {
      if (world !== null) await quietly(Scope.close(world, Exit.void))
      world = null
      open = null
    })

    it("links the members of a namespace and tells each who the other is", async () => {
      const a = await member({ region: 3 })
      const b = await member({ region: 65_535 })
      await linked(a, b)
      expect(a.up.get(b.origin)).toMatchObject({ origin: b.origin, region: 65_535 })
      expect(b.up.get(a.origin)).toMatchObject({ origin: a.origin, region: 3 })
      expect(a.transport.links().map(({ origin }) => origin)).toEqual([b.origin])
      expect(a.log).toContain(`up ${b.origin}`)
      expect(a.transport.address()).toBeTypeOf("string")
    })

    it("says that the first round of discovery is over, once, also to one who is alone", async () => {
      const a = await member()
      await until(() => a.log.includes("settled"))
      const b = await member()
      await linked(a, b)
      await until(() => b.log.includes("settled"))
      expect(a.log.filter((line) => line === "settled")).toHaveLength(1)
      expect(b.log.indexOf(`up ${a.origin}`)).toBeLessThan(b.log.indexOf("settled"))
    })

    it("carries frames whole, both ways, with who sent them", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      const allBytes = Uint8Array.from({ length: 256 }, (_, index) => index)
      expect(a.transport.send(b.origin, allBytes)).toBe(true)
      await until(() => b.frames.length === 1)
      expect(b.frames).toEqual([{ from: a.origin, bytes: allBytes }])
      expect(b.transport.send(a.origin, Uint8Array.of(7))).toBe(true)
      await until(() => a.frames.length === 1)
      expect(a.frames).toEqual([{ from: b.origin, bytes: Uint8Array.of(7) }])
    })

    it("carries what is broadcast to every link, and not back", async () => {
      const [a, b, c] = [await member(), await member(), await member()]
      await linked(a, b, c)
      b.transport.broadcast(Uint8Array.of(1, 2, 3))
      await until(() => a.frames.length === 1 && c.frames.length === 1)
      a.transport.send(b.origin, Uint8Array.of(4))
      await until(() => b.frames.length === 1)
      expect(a.frames).toEqual([{ from: b.origin, bytes: Uint8Array.of(1, 2, 3) }])
      expect(c.frames).toEqual([{ from: b.origin, bytes: Uint8Array.of(1, 2, 3) }])
      expect(b.frames).toEqual([{ from: a.origin, bytes: Uint8Array.of(4) }])
    })

    it("carries a thousand frames of one turn, none cut, joined or lost", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      const sent = Array.from({ length: 1_000 }, (_, index) => new Uint8Array(1 + ((index * 37) % 700)).fill(index))
      for (const frame of sent) a.transport.broadcast(frame)
      await until(() => b.frames.length === sent.length)
      const bytesOf = (frame: Uint8Array) => Buffer.from(frame).toString("hex")
      expect(b.frames.map(({ bytes }) => bytesOf(bytes)).sort()).toEqual(sent.map(bytesOf).sort())
    })

    it("carries a frame of the greatest length and refuses a longer one", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      const longest = new Uint8Array(a.transport.frameBytesMax)
      longest.fill(170)
      longest[longest.length - 1] = 1
      expect(a.transport.send(b.origin, longest)).toBe(true)
      await until(() => b.frames.length === 1)
      expect(Buffer.from(b.frames[0]?.bytes ?? []).equals(longest)).toBe(true)
      expect(a.transport.send(b.origin, new Uint8Array(longest.length + 1))).toBe(false)
      a.transport.broadcast(new Uint8Array(longest.length + 1))
      a.transport.send(b.origin, Uint8Array.of(9))
      await until(() => b.frames.length === 2)
      expect(b.frames[1]?.bytes).toEqual(Uint8Array.of(9))
      expect(b.up.size).toBe(1)
    })

    it("has nobody to send to where there is no link", async () => {
      const a = await member()
      expect(a.transport.send(1, Uint8Array.of(1))).toBe(false)
      a.transport.broadcast(Uint8Array.of(1))
      expect(a.transport.links()).toEqual([])
    })

    it("keeps namespaces apart", async () => {
      const [a, b] = [await member(), await member()]
      const [x, y] = [
        await member({ namespace: `${namespaceHere}_2` }),
        await member({ namespace: `${namespaceHere}_2` })
      ]
      await linked(a, b)
      await linked(x, y)
      a.transport.broadcast(Uint8Array.of(1))
      x.transport.broadcast(Uint8Array.of(2))
      await until(() => b.frames.length === 1 && y.frames.length === 1)
      expect([...a.up.keys()]).toEqual([b.origin])
      expect([...x.up.keys()]).toEqual([y.origin])
      expect([b.frames[0]?.bytes, y.frames[0]?.bytes]).toEqual([Uint8Array.of(1), Uint8Array.of(2)])
      expect([...a.frames, ...x.frames]).toEqual([])
    })

    unless("secret")("links only those who know the secret", async () => {
      const [a, b] = [await member({ secret: "the right one" }), await member({ secret: "the right one" })]
      const [stranger, nobody] = [await member({ secret: "another one" }), await member()]
      await linked(a, b)
      await until(() => stranger.log.includes("settled") && nobody.log.includes("settled"))
      a.transport.broadcast(Uint8Array.of(1))
      await until(() => b.frames.length === 1)
      expect([...a.up.keys(), ...b.up.keys()]).toEqual([b.origin, a.origin])
      expect([stranger.up.size, nobody.up.size, stranger.frames.length, nobody.frames.length]).toEqual([0, 0, 0, 0])
    })

    it("delivers what was sent before it was closed, then says that the link is down", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      for (let index = 0; index < 50; index++) a.transport.send(b.origin, Uint8Array.of(index))
      await a.close()
      await until(() => b.up.size === 0)
      expect(b.frames).toHaveLength(50)
      expect(b.log.filter((line) => line.startsWith("frame") || line === `down ${a.origin}`).at(-1)).toBe(
        `down ${a.origin}`
      )
      expect(b.transport.links()).toEqual([])
      expect(b.transport.send(a.origin, Uint8Array.of(1))).toBe(false)
    })

    unless("gone")("tells those who were linked that a member is gone, after its link is down", async () => {
      const [a, b, c] = [await member(), await member(), await member()]
      await linked(a, b, c)
      await a.close()
      await until(() => b.log.includes(`gone ${a.origin}`) && c.log.includes(`gone ${a.origin}`))
      expect(b.log.indexOf(`down ${a.origin}`)).toBeLessThan(b.log.indexOf(`gone ${a.origin}`))
      expect([...b.up.keys()]).toEqual([c.origin])
    })

    it("links whom its listener wants, and asks again when that has changed", async () => {
      const wanted = new Set<number>()
      const wants = ({ origin }: PeerInfo): boolean => wanted.has(origin)
      const [a, b, c] = [await member({}, wants), await member({}, wants), await member()]
      for (const each of [a, b, c]) await until(() => each.log.includes("settled"))
      expect([...a.up.keys(), ...b.up.keys()].filter((origin) => origin !== c.origin)).toEqual([])
      wanted.add(a.origin).add(b.origin)
      a.transport.reconsider()
      b.transport.reconsider()
      await until(() => a.up.has(b.origin) && b.up.has(a.origin))
      wanted.clear()
      a.transport.reconsider()
      b.transport.reconsider()
      await until(() => !a.up.has(b.origin) && !b.up.has(a.origin))
      expect(a.log.filter((line) => line === `gone ${b.origin}`)).toEqual([])
    })

    it("says nothing to the listener from within a call of its own", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      const before = a.log.length
      a.transport.send(b.origin, Uint8Array.of(1))
      a.transport.broadcast(Uint8Array.of(2))
      a.transport.reconsider()
      expect(a.log.length).toBe(before)
      await until(() => b.frames.length === 2)
    })

    unless("restart")("a listener that throws costs its link, which comes back", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      b.throwsOnce = true
      a.transport.send(b.origin, Uint8Array.of(1))
      await until(() => b.log.includes(`down ${a.origin}`))
      await until(() => b.up.has(a.origin) && a.up.has(b.origin))
      a.transport.send(b.origin, Uint8Array.of(2))
      await until(() => b.frames.some(({ bytes }) => bytes[0] === 2))
      expect(b.log.filter((line) => line === `gone ${a.origin}`)).toEqual([])
    })

    it("counts links, frames and bytes, and refusals by their reason", async () => {
      const [a, b] = [await member(), await member()]
      await linked(a, b)
      a.transport.send(b.origin, new Uint8Array(100))
      a.transport.send(1, new Uint8Array(100))
      await until(() => b.frames.length === 1)
      const rendered = (each: Member): string => {
        const registry = new MetricRegistry()
        registry.register(...each.transport.metrics)
        return registry.render()
      }
      expect(rendered(a)).toContain("mimosa_coherence_links 1\n")
      expect(rendered(a)).toContain('mimosa_coherence_frames_total{direction="out"} 1\n')
      expect(rendered(a)).toContain('mimosa_coherence_bytes_total{direction="out"} 100\n')
      expect(rendered(a)).toContain('mimosa_coherence_frames_lost_total{reason="no link"} 1\n')
      expect(rendered(b)).toContain('mimosa_coherence_frames_total{direction="in"} 1\n')
    })
  })
}

/** One member, with what its listener was told. */
export interface Member {
  readonly origin: number
  readonly transport: Transport
  readonly up: ReadonlyMap<number, PeerInfo>
  readonly frames: ReadonlyArray<{ readonly from: number; readonly bytes: Uint8Array }>
  /** `up 1`, `frame 1`, `down 1`, `gone 1`, `settled`, in the order in which it was told. */
  readonly log: ReadonlyArray<string>
  /** What was said in its name in the log, from WARN up: `WARN text`. */
  readonly warnings: ReadonlyArray<string>
  /** The next frame makes the listener throw. */
  throwsOnce: boolean
  readonly tree: () => Supervisor.TreeNode | null
  readonly close: () => Promise<void>
}

/** Opens a transport and starts its children under a supervisor of their own, in a scope below `world`. */
export const openMember = async (
  open: OpenTransport,
  self: TransportSelf,
  wantsLink: (peer: PeerInfo) => boolean,
  world: Scope.Scope
): Promise<Member> => {
  const scope = Effect.runSync(Scope.fork(world, ExecutionStrategy.sequential))
  const up = new Map<number, PeerInfo>()
  const frames: Array<{ from: number; bytes: Uint8Array }> = []
  const log: string[] = []
  const warnings: string[] = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) warnings.push(`${logLevel.label} ${[message].flat()[0]}`)
  })
  const listener: TransportListener = {
    onFrame: (frame, from) => {
      log.push(`frame ${from}`)
      if (!up.has(from)) throw new Error(`a frame from ${from}, which is not linked`)
      if (member.throwsOnce) {
        member.throwsOnce = false
        throw new Error("thrown by the listener, for the test")
      }
      frames.push({ from, bytes: new Uint8Array(frame) })
    },
    onLinkUp: (peer) => {
      log.push(`up ${peer.origin}`)
      if (up.has(peer.origin)) throw new Error(`${peer.origin} is linked already`)
      up.set(peer.origin, peer)
    },
    onLinkDown: (origin) => {
      log.push(`down ${origin}`)
      if (!up.delete(origin)) throw new Error(`${origin} is not linked`)
    },
    onGone: (origin) => {
      log.push(`gone ${origin}`)
      if (up.has(origin)) throw new Error(`${origin} is linked still`)
    },
    onSettled: () => log.push("settled"),
    wantsLink
  }
  let root: Supervisor.SupervisorRef | null = null
  const started = Effect.gen(function* () {
    const transport = yield* open(self, listener)
    root = yield* Supervisor.start({
      strategy: "rest_for_one",
      label: `member ${self.origin}`,
      children: transport.children
    })
    return transport
  })
  const member: Member = {
    origin: self.origin,
    transport: await Effect.runPromise(
      Scope.extend(started, scope).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
    ),
    up,
    frames,
    log,
    warnings,
    throwsOnce: false,
    tree: () => (root === null ? null : Supervisor.unsafeTree(root)),
    close: () => quietly(Scope.close(scope, Exit.void))
  }
  return member
}

/** Runs turns of the event loop until it holds. */
export const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

const quietly = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Logger.withMinimumLogLevel(effect, LogLevel.None))

let nextOrigin = 1_000 + Math.floor(Math.random() * 2 ** 40) // no two test processes of one host alike
