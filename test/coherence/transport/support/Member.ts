/** One instance of a namespace as a transport sees it: a listener that keeps what it is told, and waits for it. */
import { Effect, Exit, Layer, Logger, Scope } from "effect"
import { Supervisor } from "../../../../src/actor/index.ts"
import {
  CoherenceTransport,
  type PeerInfo,
  type Transport,
  type TransportError,
  type TransportListener
} from "../../../../src/coherence/transport/Transport.ts"

export interface MemberOptions {
  readonly origin: number
  readonly region?: number
  readonly namespace?: string
  readonly secret?: string
  readonly wantsLink?: (peer: PeerInfo) => boolean
  readonly onFrame?: (frame: Uint8Array, from: number) => void
}

export class Member implements TransportListener {
  /** `up 2`, `frame 2 text`, `down 2`, `gone 2`, `settled`, in order. Frames as text, cut at 40 characters. */
  readonly events: string[] = []
  readonly frames: Array<{ readonly frame: Uint8Array; readonly from: number }> = []
  /** What it was told of the broker: `up nats://… with 0 links`, in order. */
  readonly carrier: string[] = []
  /** What was logged in its name: `WARN text`. */
  readonly logs: string[] = []
  transport!: Transport
  /** Ends it as a program does: its processes, then the transport. */
  stop!: () => Promise<void>
  private readonly waiting = new Set<() => void>()

  constructor(readonly options: MemberOptions) {}

  onFrame(frame: Uint8Array, from: number): void {
    this.frames.push({ frame, from })
    this.tell(`frame ${from} ${Buffer.from(frame.subarray(0, 40)).toString("latin1")}`)
    this.options.onFrame?.(frame, from)
  }
  onLinkUp(peer: PeerInfo): void {
    this.tell(`up ${peer.origin}`)
  }
  onLinkDown(origin: number): void {
    this.tell(`down ${origin}`)
  }
  onGone(origin: number): void {
    this.tell(`gone ${origin}`)
  }
  onSettled(): void {
    this.tell("settled")
  }
  onCarrier(isUp: boolean, what: string): void {
    this.carrier.push(`${isUp ? "up" : "down"} ${what} with ${this.transport.links().length} links`)
    this.wake()
  }
  wantsLink(peer: PeerInfo): boolean {
    return this.options.wantsLink?.(peer) ?? true
  }

  /** Waits until it holds, looking again at each event and every few milliseconds for what makes none. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 5)
        this.waiting.add(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }

  /** Waits for an event, counting from the beginning. */
  saw(event: string, times = 1): Promise<void> {
    return this.until(() => this.events.filter((one) => one === event).length >= times)
  }

  /** The sum of the readings of a metric with this label value, or all. */
  metric(name: string, label?: string): number {
    let sum = 0
    for (const reader of this.transport.metrics) {
      if (reader.name !== name || reader.type === "histogram") continue
      const reading = reader.read()
      if (typeof reading === "number") sum += reading
      else
        for (const [labels, value] of reading)
          if (label === undefined || Object.values(labels).includes(label)) sum += value
    }
    return sum
  }

  private tell(event: string): void {
    this.events.push(event)
    this.wake()
  }

  private wake(): void {
    for (const wake of this.waiting) wake()
    this.waiting.clear()
  }
}

/** Opens a transport of this layer for a new member, and starts its processes under a supervisor. */
export const startMember = async (
  layer: Layer.Layer<CoherenceTransport, TransportError>,
  options: MemberOptions
): Promise<Member> => {
  const member = new Member(options)
  const scope = Effect.runSync(Scope.make())
  const logger = Logger.make(({ logLevel, message }) => {
    member.logs.push(`${logLevel.label} ${[message].flat().map(textOf).join(" ")}`)
  })
  const start = Effect.gen(function* () {
    const context = yield* Layer.build(layer)
    const { open } = yield* Effect.provide(CoherenceTransport, context)
    const { namespace = "ns_test", origin, region = 0, secret } = options
    member.transport = yield* open({ origin, region, namespace, secret }, member)
    yield* Supervisor.start({ strategy: "rest_for_one", children: member.transport.children })
  }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
  member.stop = () => Effect.runPromise(Scope.close(scope, Exit.void))
  await Effect.runPromise(Scope.extend(start, scope))
  return member
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))

export const text = (string: string): Uint8Array => new TextEncoder().encode(string)
