/**
 * Links over TCP between all members of a namespace: no broker, and on one host no configuration.
 *
 * Members find each other by a multicast beacon (one host or one network), a DNS name (a cluster's headless service),
 * seeds, and what linked members tell of others. Each link proves at both ends that the secret is known, and seals what
 * it carries (internal/meshWire.ts). Without a secret the mesh listens on the loopback interface, links nobody beyond
 * it, and says so in the log.
 *
 * A member whose process has ended is known to be gone when its address refuses connections: on one host within tens
 * of milliseconds of a `kill -9`. One whose host has vanished is not: its link is cut after `livenessMs` of silence.
 *
 * The tree, `rest_for_one`:
 * - `links`: one temporary process a link. When one crashes its connection is closed, and dialed again.
 * - `keeper`: dials, keeps links alive, gives them processes.
 * - `listener`: the port, and connections that have not proved themselves yet.
 * - `discovery`: beacon and DNS.
 * Frames go through none of their mailboxes: a socket calls the listener above in the turn in which the bytes arrive.
 */
import { lookup } from "node:dns/promises"
import type { AddressInfo, Server } from "node:net"
import { createServer } from "node:net"
import { createServer as createTlsServer } from "node:tls"
import { Effect, Layer, Schedule, type Scope } from "effect"
import { DynamicSupervisor, ExitReason, GenServer, type Pid, Process, Registry, Supervisor } from "../../actor/index.ts"
import { whyNotListening } from "../../telemetry/index.ts"
import { formatAddress, isLoopback, parseAddress } from "./internal/address.ts"
import { MeshBeacon } from "./internal/meshBeacon.ts"
import type { MeshLink } from "./internal/meshLink.ts"
import { MeshNode } from "./internal/meshNode.ts"
import {
  CoherenceTransport,
  frameBytesMaxDefault,
  type Transport,
  TransportError,
  type TransportListener,
  type TransportSelf
} from "./Transport.ts"

export interface MeshOptions {
  /**
   * The interface to listen on. Default: with a secret 0.0.0.0 (`::` for IPv6 as well), without one 127.0.0.1; without
   * one, only loopback will do.
   */
  readonly host?: string
  /** Default 0, a free one. */
  readonly port?: number
  /** What others are told to dial, where that differs from host and port: `host` or `host:port`. */
  readonly advertise?: string
  /** Members that are tried for as long as they are not linked, `host:port`. Also this one's own, which does no harm. */
  readonly seeds?: ReadonlyArray<string>
  /** `name:port`: a member is looked for at each address of the name, now and every 10 seconds. */
  readonly dns?: string
  /** Default true: 239.255.77.109, port 7_799. */
  readonly beacon?: boolean | { readonly group: string; readonly port: number }
  /** Links over TLS. PEM; each member's certificate has to be signed by `ca`, its name does not matter. */
  readonly tls?: {
    readonly key: string | Buffer
    readonly cert: string | Buffer
    readonly ca: string | Buffer
  }
  /** Default 17 MiB; what members answer each other does not fit into less. The same for all members. */
  readonly frameBytesMax?: number
  /** Bytes that wait for one peer; beyond that its link is cut. Default 64 MiB. */
  readonly queueBytesMax?: number
  /** From connecting to the last proof. Default 2_000. */
  readonly handshakeTimeoutMs?: number
  /** Silence after which a link is cut. Default 3_000. */
  readonly livenessMs?: number
  /** How long the first round of discovery waits for beacons. Default 250. */
  readonly beaconMs?: number
  /** Addresses of a DNS name. Default: what the system says (`getaddrinfo`), all of them. */
  readonly resolve?: (name: string) => Promise<ReadonlyArray<string>>
  /** For jitter. Default `Math.random`. */
  readonly random?: () => number
  /** Monotonic. Default `performance.now`. */
  readonly nowMs?: () => number
}

/**
 * Fails to open with `TransportError` when an option makes no sense, or would leave the host without a secret.
 *
 * @example
 * const transport = Mesh.layer({ port: 7_700, seeds: ["10.0.0.1:7700", "10.0.0.2:7700"] })
 */
export const layer = (options: MeshOptions = {}): Layer.Layer<CoherenceTransport> =>
  Layer.succeed(CoherenceTransport, {
    open: (self, listener): Effect.Effect<Transport, TransportError, Scope.Scope> =>
      Effect.acquireRelease(
        Effect.flatMap(checked(self, options), (settings) =>
          Effect.sync(() => new MeshTransport(self, listener, settings))
        ),
        (transport) => Effect.sync(() => transport.node.close())
      )
  })

interface Settings extends MeshOptions {
  readonly host: string
  readonly port: number
  readonly beaconAt: { readonly group: string; readonly port: number } | null
  readonly dnsAt: { readonly host: string; readonly port: number } | null
}

const checked = (self: TransportSelf, options: MeshOptions): Effect.Effect<Settings, TransportError> => {
  const { seeds = [], dns, advertise, beacon = true, port = 0, secret } = { ...options, secret: self.secret }
  const host = options.host ?? (secret === undefined ? "127.0.0.1" : "0.0.0.0")
  const refuse = (reason: string) => Effect.fail(new TransportError({ transport: "mesh", reason }))
  if (secret !== undefined && secret.length < secretLengthMin) {
    return refuse(`a secret has ${secretLengthMin} characters or more, best random ones; this one has ${secret.length}`)
  }
  if (secret === undefined && !isLoopback(host)) {
    return refuse(`it would listen on ${host} without a secret; set a secret, or listen on 127.0.0.1`)
  }
  if (!Number.isInteger(port) || port < 0 || port > 65_535) return refuse(`port is 0 to 65535, not ${port}`)
  for (const seed of seeds) {
    const address = parseAddress(seed)
    if (address === null || address.host === "") return refuse(`seed "${seed}" is no host:port`)
    if (secret === undefined && isNumeric(address.host) && !isLoopback(address.host)) {
      return refuse(`seed ${seed} is on another host, and there is no secret; set one, the same for all members`)
    }
  }
  const dnsAt = dns === undefined ? null : parseAddress(dns)
  if (dns !== undefined && (dnsAt === null || dnsAt.host === "")) return refuse(`dns "${dns}" is no name:port`)
  if (advertise !== undefined && (/[\s/]/.test(advertise) || advertise === "")) {
    return refuse(`advertise "${advertise}" is no host or host:port`)
  }
  const beaconAt = beacon === true ? beaconDefault : beacon === false ? null : beacon
  return Effect.succeed({ ...options, host, port, beaconAt, dnsAt })
}

const isNumeric = (host: string): boolean => /^[\d.]+$/.test(host) || host.includes(":")

class MeshTransport implements Transport {
  readonly name = "mesh"
  readonly node: MeshNode
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>

  constructor(self: TransportSelf, listener: TransportListener, settings: Settings) {
    this.node = new MeshNode(self, listener, {
      seeds: settings.seeds ?? [],
      advertise: settings.advertise,
      tls: settings.tls,
      frameBytesMax: settings.frameBytesMax ?? frameBytesMaxDefault,
      queueBytesMax: settings.queueBytesMax ?? queueBytesMaxDefault,
      handshakeTimeoutMs: settings.handshakeTimeoutMs ?? 2_000,
      livenessMs: settings.livenessMs ?? 3_000,
      beaconMs: settings.beaconMs ?? 250,
      random: settings.random ?? Math.random,
      nowMs: settings.nowMs ?? (() => performance.now())
    })
    const names = Registry.unsafeMake({ keys: "unique" })
    const links = Registry.via<DynamicSupervisor.DynamicSupervisorRef>(names, "links")
    const args: Args = { node: this.node, settings, links }
    this.children = [
      Supervisor.childSpec("mesh", {
        strategy: "rest_for_one",
        children: [
          DynamicSupervisor.childSpec("links", { name: links, maxChildren: processesMax }),
          GenServer.childSpec(Keeper, args),
          GenServer.childSpec(Listener, args),
          GenServer.childSpec(Discovery, args)
        ]
      })
    ]
  }

  get frameBytesMax(): number {
    return this.node.options.frameBytesMax
  }

  get metrics() {
    return this.node.counts.metrics
  }

  send(to: number, frame: Uint8Array): boolean {
    return this.node.send(to, frame)
  }

  broadcast(frame: Uint8Array): void {
    this.node.broadcast(frame)
  }

  links() {
    return this.node.links()
  }

  reconsider(): void {
    this.node.reconsider()
  }

  address(): string | undefined {
    return this.node.address()
  }
}

interface Args {
  readonly node: MeshNode
  readonly settings: Settings
  readonly links: Registry.Via<DynamicSupervisor.DynamicSupervisorRef>
}

type KeeperMessage =
  | { readonly _tag: "Tick" }
  | { readonly _tag: "Linked"; readonly link: MeshLink }
  | { readonly _tag: "Warning"; readonly text: string }
  | { readonly _tag: "Crash"; readonly defect: unknown }

const Keeper = GenServer.define<{ readonly info: KeeperMessage }>()({
  name: "keeper",
  mailbox: { capacity: 4_096, overflow: "reject" },
  init: ({ node, links }: Args) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const state: KeeperState = { node, links, self, timer: null, isWoken: false }
      yield* Effect.addFinalizer(() => Effect.sync(() => node.abandon()))
      node.keep({
        onLink: (link) => {
          if (!Process.unsafeOffer(self, { _tag: "Linked", link })) link.cut("crash")
        },
        wake: () => {
          if (state.isWoken) return
          state.isWoken = Process.unsafeOffer(self, { _tag: "Tick" })
        },
        warn: (text) => Process.unsafeOffer(self, { _tag: "Warning", text }),
        crash: (defect) => Process.unsafeOffer(self, { _tag: "Crash", defect })
      })
      return GenServer.Ok(state)
    }),
  handleInfo: (message, state) => {
    switch (message._tag) {
      case "Tick": {
        state.timer?.cancel()
        state.isWoken = false
        const delayMs = state.node.tick()
        state.timer = Process.unsafeSendAfter(state.self, { _tag: "Tick" }, delayMs)
        return GenServer.NoReply(state)
      }
      case "Linked":
        return Effect.as(giveProcess(state.links, message.link), GenServer.NoReply(state))
      case "Warning":
        return Effect.as(Effect.logWarning(message.text), GenServer.NoReply(state))
      case "Crash":
        return GenServer.Stop(ExitReason.crashWith(message.defect), state)
      default:
        return GenServer.NoReply(state)
    }
  },
  inspect: ({ node }) => ({ links: node.links().length, addresses: node.book.targets.size })
})

interface KeeperState {
  readonly node: MeshNode
  readonly links: Args["links"]
  readonly self: Pid.Pid<KeeperMessage>
  timer: Process.TimerRef | null
  isWoken: boolean
}

/** A link that no process can be had for is cut: nobody would answer for it. */
const giveProcess = (supervisor: Args["links"], link: MeshLink) =>
  DynamicSupervisor.startChild(supervisor, {
    id: `link to ${link.peer.origin}`,
    start: Effect.tap(
      Process.spawnLink(own(link), {
        label: `link to ${link.peer.address}`,
        memoryBytes: () => link.waitingBytes,
        inspect: () => ({ origin: link.peer.origin, region: link.peer.region, isDialed: link.isDialed })
      }),
      (pid) => Effect.sync(() => Process.onExit(pid, (reason) => reason._tag === "killed" && link.cut("crash")))
    ),
    restart: "temporary"
  }).pipe(Effect.catchAllCause(() => Effect.sync(() => link.cut("crash"))))

/** Lasts as long as the link, and crashes with what the listener above threw. Asked to end, it says goodbye first. */
const own = (link: MeshLink): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    link.whenGone((crash) => resume(crash === null ? Effect.void : Effect.die(crash.defect)))
    return Effect.async<void>((ended) => {
      link.bye("closed")
      link.whenGone(() => ended(Effect.void))
    })
  })

type ListenerMessage = { readonly _tag: "Failed"; readonly error: Error }

const Listener = GenServer.define<{ readonly info: ListenerMessage }>()({
  name: "listener",
  init: ({ node, settings }: Args) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const { host, tls } = settings
      const before = node.boundPort
      const listen = Effect.tryPromise({
        try: () => listenOn(newServer(node, tls), host, before ?? settings.port),
        catch: (cause) => {
          const reason = `cannot listen on ${formatAddress(host, before ?? settings.port)}: ${whyNotListening(cause)}`
          return new TransportError({ transport: "mesh", reason, cause })
        }
      })
      const server = yield* Effect.acquireRelease(
        // A listener that was killed lets go of its port a few turns later.
        before === null ? listen : Effect.retry(listen, { schedule: handover, while: isInUse }),
        (server) =>
          Effect.sync(() => {
            node.stopAccepting()
            server.close()
          })
      )
      server.on("error", (error) => Process.unsafeOffer(self, { _tag: "Failed", error }))
      const { port } = server.address() as AddressInfo
      node.listens(host, port)
      const who = node.isSecured ? "whoever knows the secret" : "members on this host only, since no secret is set"
      yield* Effect.logDebug(`coherence listens on ${formatAddress(host, port)} for ${who}`)
      return GenServer.Ok({ host, port })
    }),
  handleInfo: (message, state) =>
    message._tag === "Failed" ? GenServer.Stop(ExitReason.crashWith(message.error), state) : GenServer.NoReply(state),
  inspect: (state) => state
})

const newServer = (node: MeshNode, tls: Settings["tls"]): Server => {
  if (tls === undefined) {
    const server = createServer((socket) => node.accept(socket))
    server.maxConnections = connectionsMax
    return server
  }
  const { handshakeTimeoutMs: handshakeTimeout } = node.options
  const server = createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true, handshakeTimeout })
  server.maxConnections = connectionsMax // those in the middle of TLS' own handshake are not with the node yet
  server.on("secureConnection", (socket) => node.accept(socket))
  server.on("tlsClientError", (_, socket) => {
    node.counts.refused("tls")
    socket.destroy()
  })
  return server
}

const listenOn = (server: Server, host: string, port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen({ host, port }, () => {
      server.off("error", reject)
      resolve(server)
    })
  })

const isInUse = ({ cause }: TransportError): boolean => (cause as NodeJS.ErrnoException).code === "EADDRINUSE"

const handover = Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(100)) // 2 s

type DiscoveryMessage = { readonly _tag: "Announce" } | { readonly _tag: "Resolve" }

const Discovery = GenServer.define<{ readonly info: DiscoveryMessage }>()({
  name: "discovery",
  init: ({ node, settings }: Args) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const { beaconAt, dnsAt, resolve = resolveAll } = settings
      let beacon: MeshBeacon | null = null
      if (beaconAt !== null) {
        const opened = new MeshBeacon({
          ...beaconAt,
          isOpen: node.isSecured,
          onDatagram: (bytes, { address }) => {
            if (node.isSecured || isLoopback(address)) node.onDatagram(bytes, address)
          }
        })
        yield* Effect.addFinalizer(() => Effect.sync(() => opened.close()))
        const errors = yield* Effect.promise(() => opened.open())
        for (const error of errors) yield* Effect.logWarning(`coherence has no beacon: ${error.message}`)
        if (opened.isOpen) beacon = opened
      }
      const state: DiscoveryState = { node, beacon, dnsAt, resolve, self, announcements: 0 }
      node.beginRound(beacon !== null, dnsAt === null)
      if (beacon !== null) Process.unsafeOffer(self, { _tag: "Announce" })
      if (dnsAt !== null) Process.unsafeOffer(self, { _tag: "Resolve" })
      return GenServer.Ok(state)
    }),
  handleInfo: (message, state) => {
    const { node, beacon, dnsAt, self } = state
    const { random } = node.options
    if (message._tag === "Announce" && beacon !== null) {
      beacon.announce(node.beacon())
      const delayMs = Math.min(announceMsMax, announceMsMin * 1.6 ** state.announcements++)
      Process.unsafeSendAfter(self, { _tag: "Announce" }, delayMs * (0.75 + random() / 2))
    } else if (message._tag === "Resolve" && dnsAt !== null) {
      Process.unsafeSendAfter(self, { _tag: "Resolve" }, resolveMs * (0.75 + random() / 2))
      return Effect.as(resolveMembers(state, dnsAt), GenServer.NoReply(state))
    }
    return GenServer.NoReply(state)
  },
  inspect: ({ beacon, announcements }) => ({ beacon: beacon !== null, announcements })
})

interface DiscoveryState {
  readonly node: MeshNode
  readonly beacon: MeshBeacon | null
  readonly dnsAt: Settings["dnsAt"]
  readonly resolve: NonNullable<MeshOptions["resolve"]>
  readonly self: Pid.Pid<DiscoveryMessage>
  announcements: number
}

const resolveMembers = ({ node, resolve }: DiscoveryState, at: { readonly host: string; readonly port: number }) =>
  Effect.matchEffect(
    Effect.timeout(
      Effect.tryPromise(() => resolve(at.host)),
      resolveTimeoutMs
    ),
    {
      onSuccess: (hosts) =>
        Effect.sync(() => node.onNames(hosts.slice(0, namesMax).map((host) => formatAddress(host, at.port)))),
      onFailure: (error) =>
        Effect.zipRight(
          Effect.sync(() => node.onNames([])),
          Effect.logWarning(`coherence: the name ${at.host} has no answer: ${String(error.cause ?? error.message)}`)
        )
    }
  )

const resolveAll = async (name: string): Promise<ReadonlyArray<string>> =>
  (await lookup(name, { all: true })).map(({ address }) => address)

const beaconDefault = { group: "239.255.77.109", port: 7_799 } // of the range for local use, RFC 2365
const secretLengthMin = 8
const queueBytesMaxDefault = 64 * 2 ** 20 // bytes; some minutes of a busy writer
const connectionsMax = 2_048 // twice the links: those that are on their way in or out count too
const processesMax = connectionsMax
const announceMsMin = 20 // the first beacons; each follows after 1.6 times as long …
const announceMsMax = 3_000 // … up to this
const resolveMs = 10_000
const resolveTimeoutMs = 5_000
const namesMax = 1_024 // addresses of one name
