/**
 * Links over NATS, for organisations that run it: no port of ours, no discovery, one subject tree a namespace.
 * ```
 * mimosa.<namespace>.presence        who is there
 * mimosa.<namespace>.<region>.all    what one instance says to all of its region
 * mimosa.<namespace>.to.<origin>     what is meant for one
 * ```
 * Core NATS, at most once: what the server does not deliver is pulled by the protocol above. Characters of a namespace
 * that mean something in a subject are written as %xx. Subject permissions on `mimosa.<namespace>.>` keep namespaces
 * apart on the server's side too; the secret keeps out who has them.
 *
 * The client of NATS connects again by itself, also to servers of the cluster that it has only heard of; it says when it
 * gives up (credentials that are refused twice), and then we begin anew with back-off, for as long as it takes.
 *
 * `@nats-io/transport-node` is loaded when the layer is built, and by nobody else.
 *
 * [1] docs.nats.io, reference/reference-protocols/nats-protocol.
 */
import type { NatsConnection, NodeConnectionOptions } from "@nats-io/transport-node"
import { Effect, Layer } from "effect"
import { type Broker, type BusConnection, type BusOptions, type BusPort, connectionLost, open } from "./Bus.ts"
import { shownUrls } from "./internal/address.ts"
import { optionalPackage } from "./internal/optionalPackage.ts"
import { CoherenceTransport, TransportError } from "./Transport.ts"

export interface NatsOptions extends BusOptions {
  /** First part of all subjects; may have dots. Default `mimosa`. */
  readonly prefix?: string
  /**
   * What the client of NATS is given beside the servers, its `NodeConnectionOptions`: authenticator, TLS, inbox prefix.
   * Credentials in the URL go before; names, echo and the number of reconnects are ours to set.
   */
  readonly connection?: Readonly<Record<string, unknown>>
}

/**
 * The transport over the servers of `url`: `nats://[user:password@ | token@]host[:port]`, several separated by commas;
 * `tls://` asks for TLS.
 *
 * Fails with `TransportError` when the package is not installed or the URL is none. A server that cannot be reached is
 * no failure: it is tried without end, logged, and until then this instance has not joined.
 *
 * @example
 * Nats.layer("nats://nats-1:4222,nats-2:4222")
 */
export const layer = (url: string, options: NatsOptions = {}): Layer.Layer<CoherenceTransport, TransportError> =>
  Layer.effect(
    CoherenceTransport,
    Effect.gen(function* () {
      const nats = yield* optionalPackage("nats", "@nats-io/transport-node", () => import("@nats-io/transport-node"))
      const settings = yield* settingsOf(url, options)
      const broker: Broker = {
        name: "nats",
        address: shownUrls(url),
        channel: (...parts) => [options.prefix ?? prefixDefault, ...parts.map(token)].join("."),
        isKept: () => false,
        connect: (port) => hold(port, () => nats.connect(settings))
      }
      return { open: (self, listener) => open(broker, options, self, listener) }
    })
  )

/** One connection: from the attempt to make it to the moment when the client gives up, or we close it. */
const hold = (port: BusPort, connect: () => Promise<NatsConnection>): Effect.Effect<void, TransportError> =>
  Effect.acquireUseRelease(
    // An attempt cannot be cut short, so one that is not wanted any more is closed when it has come about.
    Effect.async<NatsConnection, TransportError>((resume) => {
      let isWanted = true
      let made: NatsConnection | undefined
      connect().then(
        (connection) => {
          made = connection
          if (isWanted) resume(Effect.succeed(connection))
          else void connection.close()
        },
        (cause) => resume(Effect.fail(failure(cause)))
      )
      return Effect.sync(() => {
        isWanted = false
        void made?.close()
      })
    }).pipe(Effect.interruptible),
    (connection) =>
      Effect.gen(function* () {
        const outgoing = new Outgoing(connection)
        for (const channel of port.channels) {
          connection.subscribe(channel, {
            callback: (error, message) => (error === null ? port.onMessage(message.data) : port.onError(error))
          })
        }
        // The server takes subscriptions in order, so after this answer it has them all.
        yield* Effect.tryPromise({ try: () => connection.flush(), catch: failure })
        port.onUp(outgoing)
        void followStatus(connection, port, outgoing)
        const reason = yield* Effect.promise(() => connection.closed())
        if (reason instanceof Error) return yield* failure(reason)
      }),
    (connection) =>
      Effect.promise(async () => {
        if (connection.isClosed()) return
        port.leave()
        // What was sent goes out first, the goodbye last. While the server is away there is nobody to wait for.
        await Promise.race([connection.flush().catch(() => {}), connection.closed(), timeOut(flushMsMax)])
        await connection.close()
      })
  )

/** Follows the client through its own reconnects. Ends when the connection is closed for good. */
const followStatus = async (connection: NatsConnection, port: BusPort, outgoing: Outgoing): Promise<void> => {
  for await (const status of connection.status()) {
    if (status.type === "disconnect") {
      port.onDown(connectionLost)
      outgoing.forget()
    } else if (status.type === "reconnect") {
      port.onUp(outgoing)
    } else if (status.type === "error") {
      port.onError(status.error)
    }
  }
}

/**
 * What was handed to the client and not yet confirmed by the server.
 *
 * The client buffers without a bound and tells nobody how much. But the server answers a PING after all that came before
 * it, so there is one on its way as long as there are bytes to ask about.
 */
class Outgoing implements BusConnection {
  unconfirmedBytes = 0
  private isAsking = false
  /** Bytes before the PING that is on its way. */
  private askedBytes = 0
  private round = 0

  constructor(private readonly connection: NatsConnection) {}

  get messageBytesMax(): number {
    return this.connection.info?.max_payload ?? payloadBytesDefault
  }

  publish(channel: string, message: Uint8Array): void {
    if (this.connection.isClosed()) return
    this.connection.publish(channel, message)
    this.unconfirmedBytes += message.length
    if (!this.isAsking) this.ask()
  }

  /** The client has dropped what it held, with the connection to the server. */
  forget(): void {
    this.round++
    this.isAsking = false
    this.unconfirmedBytes = 0
  }

  private ask(): void {
    const { round } = this
    this.isAsking = true
    // In a later turn: what is published in this one goes along.
    setImmediate(() => {
      if (round !== this.round) return
      if (this.connection.isClosed()) return this.forget()
      this.askedBytes = this.unconfirmedBytes
      this.connection.flush().then(
        () => {
          if (round !== this.round) return
          this.isAsking = false
          this.unconfirmedBytes -= this.askedBytes
          if (this.unconfirmedBytes > 0) this.ask()
        },
        () => {
          if (round === this.round) this.forget()
        }
      )
    })
  }
}

const settingsOf = (url: string, options: NatsOptions): Effect.Effect<NodeConnectionOptions, TransportError> =>
  Effect.try({
    try: () => {
      const urls = url.split(",").map((one) => new URL(one.trim()))
      const [first] = urls
      if (!/^[^\s*>.]+(\.[^\s*>.]+)*$/.test(options.prefix ?? prefixDefault)) throw new TypeError("no subject")
      if (
        first === undefined ||
        urls.some(({ hostname, protocol }) => hostname === "" || !schemes.includes(protocol))
      ) {
        throw new TypeError("not of NATS")
      }
      return {
        reconnectTimeWait: 250, // ms; the client's default of 2 s is most of what partitions are allowed to take
        reconnectJitter: 250,
        pingInterval: 5_000, // ms; a server that is silently gone is found within 3 of these
        maxPingOut: 2,
        timeout: 5_000, // ms for a handshake
        ...options.connection,
        ...(first.username === ""
          ? {}
          : first.password === ""
            ? { token: decodeURIComponent(first.username) }
            : { user: decodeURIComponent(first.username), pass: decodeURIComponent(first.password) }),
        ...(first.protocol === "tls:" && options.connection?.tls === undefined ? { tls: {} } : {}),
        servers: urls.map(({ hostname, port }) => `${hostname}:${port === "" ? portDefault : port}`),
        name: "mimosa-cache",
        noEcho: true,
        maxReconnectAttempts: -1
      }
    },
    catch: (cause) =>
      new TransportError({
        transport: "nats",
        reason:
          "the URL should be nats://[user:password@]host[:port], or several of them separated by commas, and the prefix " +
          "tokens of a subject separated by dots",
        cause
      })
  })

/** One token of a subject: no dot, no wildcard, no space. */
const token = (part: string): string =>
  part.replace(/[^\w-]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("")
  )

const failure = (cause: unknown): TransportError =>
  new TransportError({ transport: "nats", reason: cause instanceof Error ? cause.message : String(cause), cause })

const timeOut = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref())

const prefixDefault = "mimosa"
const portDefault = 4222
const schemes = ["nats:", "tls:"]
const payloadBytesDefault = 2 ** 20 // bytes; NATS' own default, for a server that does not say
const flushMsMax = 1_000 // a goodbye that takes longer is not waited for
