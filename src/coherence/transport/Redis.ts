/**
 * Links over Redis (or Valkey, or anything that speaks its protocol), for teams that have one.
 *
 * Two connections: one that subscribes, and one for everything else. Frames go by PUBLISH, on the channels
 * ```
 * mimosa:<namespace>:presence        who is there
 * mimosa:<namespace>:<region>:all    what one instance says to all of its region
 * mimosa:<namespace>:to:<origin>     what is meant for one
 * ```
 * Pub/sub forgets who is away, so what one instance writes goes into a stream as well, `mimosa:<namespace>:<region>:log`,
 * trimmed to about `streamLengthMax` messages and gone an hour after its last user. After a reconnect it is read from a
 * position up to which all is known to have arrived. That is a help and no promise: what the stream has lost is pulled
 * from the peers, and what was written by an instance that died meanwhile is here and nowhere else.
 *
 * A position is safe when the stream ended there *and* the subscription has answered a PING since: messages are published
 * before they are added, and one connection gets them in order.
 *
 * `@redis/client` is loaded when the layer is built, and by nobody else. It connects again by itself.
 *
 * [1] redis.io, docs/latest/develop/pubsub, commands/xadd.
 */
import { Deferred, Duration, Effect, Exit, Layer } from "effect"
import { isInv } from "../protocol/Frame.ts"
import { type Broker, type BusConnection, type BusOptions, type BusPort, open } from "./Bus.ts"
import { shownUrls } from "./internal/address.ts"
import { optionalPackage } from "./internal/optionalPackage.ts"
import { CoherenceTransport, TransportError } from "./Transport.ts"

export interface RedisOptions extends BusOptions {
  /** First part of all channels and keys. Default `mimosa`. */
  readonly prefix?: string
  /**
   * Messages that the stream keeps for receivers that are away, about; 0: there is no stream, and no right to have one
   * is needed. Default 10,000.
   */
  readonly streamLengthMax?: number
  readonly username?: string
  readonly password?: string
}

/**
 * The transport over the server of `url`: `redis[s]://[[user][:password]@]host[:port]`. Of a cluster, one node with
 * `streamLengthMax: 0`: its pub/sub goes through all of them, a stream lives on one.
 *
 * Fails with `TransportError` when the package is not installed or the URL is none. A server that cannot be reached is
 * no failure: it is tried without end, logged, and until then this instance has not joined.
 *
 * @example
 * Redis.layer("redis://cache.internal:6379")
 */
export const layer = (url: string, options: RedisOptions = {}): Layer.Layer<CoherenceTransport, TransportError> =>
  Layer.effect(
    CoherenceTransport,
    Effect.gen(function* () {
      const redis = yield* optionalPackage("redis", "@redis/client", () => import("@redis/client"))
      const address = yield* addressOf(url)
      const connectionOptions = {
        url,
        RESP: 2, // what every server of this protocol speaks
        disableOfflineQueue: true,
        maintNotifications: "disabled", // of Redis Enterprise; an error on every other server
        socket: { reconnectStrategy: false, connectTimeout: connectMsMax },
        ...(options.username === undefined ? {} : { username: options.username }),
        ...(options.password === undefined ? {} : { password: options.password })
      } as const
      const channel = (...parts: readonly string[]) =>
        [options.prefix ?? prefixDefault, ...parts.map(escaped)].join(":")
      return {
        open: (self, listener) => {
          const log = new KeptLog(channel(self.namespace, String(self.region), "log"), options)
          const broker: Broker = {
            name: "redis",
            address,
            channel,
            isKept: (frame) => log.lengthMax > 0 && isInv(frame),
            connect: (port) => hold(port, log, redis, connectionOptions)
          }
          return open(broker, options, self, listener)
        }
      }
    })
  )

type Package = typeof import("@redis/client")
type ClientOptions = Parameters<Package["createClient"]>[0]
type Client = ReturnType<Package["createClient"]>

/** One pair of connections, from the attempt to make them to the loss of either, or until we close them. */
const hold = (
  port: BusPort,
  log: KeptLog,
  redis: Package,
  options: ClientOptions
): Effect.Effect<void, TransportError> =>
  Effect.gen(function* () {
    const failed = yield* Deferred.make<never, TransportError>()
    const fail = (cause: unknown) => void Deferred.unsafeDone(failed, Exit.fail(failure(cause)))
    const open = Effect.acquireRelease(
      Effect.sync(() => redis.createClient(options).on("error", fail)),
      (client) => Effect.sync(() => client.destroy())
    ).pipe(Effect.tap((client) => ask(() => client.connect())))

    const [commands, subscriber] = yield* Effect.all([open, open], { concurrency: "unbounded" })
    const asBuffers = { typeMapping: { [redis.RESP_TYPES.BLOB_STRING]: Buffer } }
    for (const channel of port.channels) {
      yield* ask(() => subscriber.subscribe(channel, (message) => port.onMessage(message), true))
    }
    yield* log.catchUp(commands, asBuffers, port)

    // What is lost with the connection has that as its reason, and no line of its own.
    const outgoing = new Outgoing(commands, log, (error) => error instanceof redis.ErrorReply && port.onError(error))
    port.onUp(outgoing)
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => {
        if (!commands.isReady) return
        port.leave()
        await Promise.race([commands.close(), timeOut(flushMsMax)])
      })
    )
    const watched = log
      .advance(commands, subscriber)
      .pipe(
        Effect.timeoutFail({ duration: answerTimeMax, onTimeout: () => failure("timed out") }),
        Effect.delay(advanceInterval),
        Effect.forever
      )
    yield* Effect.raceFirst(watched, Deferred.await(failed))
  }).pipe(Effect.scoped)

/** The stream of one region of a namespace, and how far it has been seen. Outlives connections. */
class KeptLog {
  readonly lengthMax: number
  /** All messages up to this one have arrived, or were before our time; undefined until the first connection. */
  private position: string | undefined

  constructor(
    readonly key: string,
    options: RedisOptions
  ) {
    this.lengthMax = options.streamLengthMax ?? streamLengthMaxDefault
  }

  /** Hands over what was added since the position, the oldest first: no more than the stream may hold. */
  catchUp(commands: Client, asBuffers: object, port: BusPort): Effect.Effect<void, TransportError> {
    if (this.lengthMax === 0) return Effect.void
    return ask(async () => {
      this.position ??= await this.last(commands)
      for (let taken = 0; taken < 2 * this.lengthMax; taken += pageLength) {
        const range = ["XRANGE", this.key, this.position, "+", "COUNT", String(pageLength)]
        const page: Array<[id: Buffer, fields: Buffer[]]> = await commands.sendCommand(range, asBuffers)
        for (const [id, [, message]] of page) {
          const seen: string | undefined = this.position
          this.position = id.toString()
          if (this.position !== seen && message !== undefined) port.onKept(message)
        }
        if (page.length < pageLength) break
      }
    })
  }

  /** Moves the position to the end of the stream, once the subscription has brought what was published before that. */
  advance(commands: Client, subscriber: Client): Effect.Effect<void, TransportError> {
    return ask(async () => {
      const last = this.lengthMax === 0 ? undefined : await this.last(commands)
      await subscriber.ping()
      this.position = last
      if (last !== undefined) await commands.sendCommand(["PEXPIRE", this.key, String(streamMsMax)])
    })
  }

  private async last(commands: Client): Promise<string> {
    const newest: Array<[id: string]> = await commands.sendCommand(["XREVRANGE", this.key, "+", "-", "COUNT", "1"])
    return newest[0]?.[0] ?? "0-0"
  }
}

/** What was handed to the client and not yet answered by the server. */
class Outgoing implements BusConnection {
  readonly messageBytesMax = messageBytesMax
  unconfirmedBytes = 0

  constructor(
    private readonly commands: Client,
    private readonly log: KeptLog,
    /** Told what the server says no to, and what the loss of the connection has cost. */
    private readonly onError: (error: unknown) => void
  ) {}

  publish(channel: string, message: Uint8Array, isKept: boolean): void {
    const bytes = Buffer.from(message.buffer, message.byteOffset, message.length)
    this.unconfirmedBytes += bytes.length
    const done = () => {
      this.unconfirmedBytes -= bytes.length
    }
    this.commands.sendCommand(["PUBLISH", channel, bytes]).then(done, (error) => {
      done()
      this.onError(error)
    })
    if (!isKept) return
    // After the message, which is what a position relies on.
    const add = ["XADD", this.log.key, "MAXLEN", "~", String(this.log.lengthMax), "*", "m", bytes]
    this.commands.sendCommand(add).catch(this.onError)
  }
}

const addressOf = (url: string): Effect.Effect<string, TransportError> =>
  Effect.try({
    try: () => {
      const { hostname, protocol } = new URL(url)
      if (hostname === "" || !schemes.includes(protocol)) throw new TypeError("not of Redis")
      return shownUrls(url)
    },
    catch: (cause) =>
      new TransportError({
        transport: "redis",
        reason: "the URL should be redis://[[user][:password]@]host[:port], or rediss:// for TLS",
        cause
      })
  })

/** Colons separate the parts of a name, so a part has none. */
const escaped = (part: string): string => part.replaceAll("%", "%25").replaceAll(":", "%3a")

const ask = (body: () => Promise<unknown>): Effect.Effect<void, TransportError> =>
  Effect.asVoid(Effect.tryPromise({ try: body, catch: failure }))

const failure = (cause: unknown): TransportError =>
  new TransportError({ transport: "redis", reason: cause instanceof Error ? cause.message : String(cause), cause })

const timeOut = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref())

const prefixDefault = "mimosa"
const schemes = ["redis:", "rediss:"]
const connectMsMax = 5_000 // the client's own default
const streamLengthMaxDefault = 10_000 // messages, of up to 128 records each
const streamMsMax = 3_600_000 // a stream that nobody has used for an hour goes
const pageLength = 256 // messages, one answer of the server
const advanceInterval = Duration.seconds(1)
const answerTimeMax = Duration.seconds(5) // a server that is silent for so long is gone
const messageBytesMax = 2 ** 20 // bytes; keeps small frames from waiting behind the whole of a large one
const flushMsMax = 1_000 // a goodbye that takes longer is not waited for
