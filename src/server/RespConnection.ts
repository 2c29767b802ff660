/**
 * One client's socket: bytes in, commands run, replies out.
 *
 * All the commands of what has arrived run in one turn and are answered by one write. The turn is cut short where a
 * client asks for more than it takes away: once more than `replyBytesHigh` waits in its socket, what it sent stays
 * unparsed and nothing more is read, until the socket has drained. So what one connection can hold of our memory is
 * that limit, the replies of one command, and one portion of input.
 */
import type { Socket } from "node:net"
import type { TurnClock } from "../cache/TurnClock.ts"
import { Client, ClientMode, type Wire } from "./Client.ts"
import { RespParser } from "./RespParser.ts"
import type { ServerState } from "./ServerState.ts"

/** What a connection needs of the server that it belongs to. */
export interface ConnectionHost {
  readonly state: ServerState
  readonly clock: TurnClock
  /** Writes what the turn pushed to other connections. */
  flushPushed(): void
  /** `connection` has messages to write, and this is not its turn. */
  onPush(connection: RespConnection): void
  /** The socket is closed and the client gone. Called once. */
  onClosed(connection: RespConnection): void
}

/** What a command threw: a defect of ours. It costs the connection, and nothing else. */
export interface Crash {
  readonly defect: unknown
}

export class RespConnection implements Wire {
  readonly client: Client
  readonly remoteAddress: string
  readonly localAddress: string
  /** Whether the host will flush this connection's messages. */
  isPushed = false
  private readonly parser: RespParser
  private isPaused = false
  private isWaiting = false
  private isEnded = false
  private isGone = false
  private crash: Crash | undefined
  private readonly mourners: Array<(crash: Crash | undefined) => void> = []
  private softSinceMs = 0

  constructor(
    id: number,
    readonly socket: Socket,
    private readonly host: ConnectionHost
  ) {
    const { settings } = host.state
    this.remoteAddress = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`
    this.localAddress = `${socket.localAddress ?? "?"}:${socket.localPort ?? 0}`
    this.parser = new RespParser(settings.limits)
    this.client = new Client(id, host.state, this)
    host.state.clients.set(id, this.client)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, keepAliveMs)
    socket.on("data", (bytes: Buffer) => this.onData(bytes))
    socket.on("drain", () => this.onDrain())
    socket.on("error", () => {}) // a reset by the peer; "close" follows
    socket.on("close", () => this.onClose())
    if (settings.idleTimeoutMs > 0) socket.setTimeout(settings.idleTimeoutMs, () => this.onIdle())
  }

  /** Bytes that the client has not taken yet. */
  get waitingBytes(): number {
    return this.client.reply.size + this.socket.writableLength
  }

  /** Lets the replies so far reach the client, then closes. */
  end(): void {
    if (this.isEnded) return
    this.isEnded = true
    this.flush()
    this.socket.destroySoon()
  }

  /** Calls back once the socket is closed, with what a command threw if that was why; at once if it is closed already. */
  whenGone(notify: (crash: Crash | undefined) => void): void {
    if (this.isGone) notify(this.crash)
    else this.mourners.push(notify)
  }

  cut(): void {
    this.isEnded = true
    // At once, not when the socket has closed: until then a turn that goes on could publish without end to it.
    this.client.unsubscribeAll()
    this.client.reply.clear()
    this.client.deferred.clear()
    this.socket.destroy()
  }

  onPush(): void {
    if (!this.isPushed && !this.isEnded) {
      this.isPushed = true
      this.host.onPush(this)
    }
    // A message is only text until it is written: many in one turn must not pass the limit either.
    const { reply, deferred } = this.client
    if (reply.size + deferred.size > this.host.state.settings.subscriberLimit.hardBytes) this.cutSlowSubscriber()
  }

  /** Writes what waits, and looks whether the client still keeps up with what is published to it. */
  flush(): void {
    const { reply, modes } = this.client
    if (reply.size === 0) return
    if (this.socket.destroyed) {
      reply.clear()
      return
    }
    this.host.state.stats.outputBytes += reply.size
    reply.flush(this.socket)
    if ((modes & subscriber) !== 0) this.checkSubscriber()
  }

  private onData(bytes: Buffer): void {
    const { host } = this
    if (this.isEnded) return
    host.state.stats.inputBytes += bytes.length
    this.parser.feed(bytes)
    this.runTurn()
  }

  private onDrain(): void {
    this.softSinceMs = 0
    this.continue()
  }

  private runTurn(): void {
    const { host } = this
    host.clock.enter()
    try {
      this.runCommands()
    } catch (defect) {
      host.state.stats.crashes++
      this.crash = { defect }
      this.cut()
    } finally {
      host.flushPushed()
      host.clock.leave()
    }
  }

  private runCommands(): void {
    const { client, parser, host, socket } = this
    const { replyBytesHigh } = host.state.settings
    client.lastAtMs = host.clock.nowMs()
    while (!this.isPaused && parser.next()) {
      const waiting = client.execute(parser.args)
      if (waiting !== undefined) this.wait(waiting)
      else if (client.isClosing) break
      if (client.reply.size >= replyBytesHigh) {
        this.flush()
        if (socket.writableLength >= replyBytesHigh) this.pause()
      }
    }
    if (parser.error !== undefined && !this.isPaused && !client.isClosing) {
      host.state.stats.protocolErrors++
      client.fail(`ERR ${parser.error}`)
      client.isClosing = true
    }
    if (client.isClosing) this.end()
    else this.flush()
    if (!this.isPaused && socket.writableLength >= replyBytesHigh) this.pause()
  }

  /** A command answers later: nothing of this connection runs before it has. */
  private wait(answered: Promise<void>): void {
    this.isPaused = true
    this.isWaiting = true
    this.socket.pause()
    void answered.then(() => {
      this.isWaiting = false
      this.continue()
    })
  }

  /** Goes on with what the client had sent, unless it still has to wait for something. */
  private continue(): void {
    if (!this.isPaused || this.isWaiting || this.isEnded) return
    this.isPaused = false
    this.runTurn()
    if (!this.isPaused && !this.isEnded) this.socket.resume()
  }

  private pause(): void {
    this.isPaused = true
    this.host.state.stats.pauses++
    this.socket.pause()
  }

  private checkSubscriber(): void {
    const { hardBytes, softBytes, softMs } = this.host.state.settings.subscriberLimit
    const waiting = this.socket.writableLength
    if (waiting < softBytes) {
      this.softSinceMs = 0
      return
    }
    const nowMs = this.host.clock.nowMs()
    if (this.softSinceMs === 0) this.softSinceMs = nowMs
    if (waiting > hardBytes || nowMs - this.softSinceMs > softMs) this.cutSlowSubscriber()
  }

  private cutSlowSubscriber(): void {
    if (this.isEnded) return
    this.host.state.stats.slowSubscribers++
    this.client.reply.clear()
    this.cut()
  }

  private onIdle(): void {
    if ((this.client.modes & subscriber) !== 0) return
    this.host.state.stats.idleDisconnections++
    this.cut()
  }

  private onClose(): void {
    this.isEnded = true
    this.client.unsubscribeAll()
    this.client.reply.clear()
    this.host.state.clients.delete(this.client.id)
    this.host.onClosed(this)
    this.isGone = true
    for (const notify of this.mourners.splice(0)) notify(this.crash)
  }
}

const subscriber = ClientMode.subscribed | ClientMode.listening
const keepAliveMs = 300_000 // Redis' tcp-keepalive
