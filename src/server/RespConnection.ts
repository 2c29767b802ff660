/**
 * One client's socket: bytes in, commands run, replies out.
 *
 * All the commands of what has arrived run in one turn and are answered by one write. The turn is cut short where a
 * client asks for more than its share: of the thread (`Turns`), or of memory. Once more than `replyBytesHigh` waits in
 * its socket, what it sent stays unparsed and nothing more is read, until the socket has drained. So what one connection
 * can hold of our memory is that limit, the replies of one command (`replyBytesMax`), one portion of input, and what it
 * has us keep (an unfinished command, a transaction, the names of its channels); all of it is counted, and together the
 * clients may hold `clientBytesMax`, those of one tenant a share of it.
 *
 * A client may be done sending before it is answered (`printf … | nc`): what it sent is run and answered, then we close.
 */
import type { Socket } from "node:net"
import type { Tenant } from "../cache/Tenants.ts"
import type { TurnClock } from "../cache/TurnClock.ts"
import { Client, ClientMode, type Wire } from "./Client.ts"
import { RespError } from "./RespError.ts"
import { RespParser } from "./RespParser.ts"
import { type ServerState, tenantShare } from "./ServerState.ts"
import { reactionWork, type TurnTaker } from "./Turns.ts"

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

/** Why nothing of a connection runs at present. Bits. */
const Hold = {
  /** Its socket has more replies than it should. */
  drain: 1,
  /** A command answers later. */
  answer: 2,
  /** It is the others' turn. */
  turn: 4,
  /** It has been cut. */
  cut: 8
} as const

export class RespConnection implements Wire, TurnTaker {
  readonly client: Client
  readonly remoteAddress: string
  readonly localAddress: string
  private readonly parser: RespParser
  /** The host will have its messages written. */
  private isPushed = false
  private holds = 0
  /** The client will send nothing more. */
  private isInputOver = false
  /** It ends when the command that it waits for has been answered. */
  private isLeaving = false
  private isEnded = false
  private isGone = false
  private crash: Crash | undefined
  private readonly mourners: Array<(crash: Crash | undefined) => void> = []
  private softSinceMs = 0
  /** What it held of our memory when that was last counted. */
  private heldBytes = 0
  /** The same, as it was counted for its tenant. */
  private heldForTenant = 0

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
    socket.on("end", () => this.onEnd())
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

  /** The same once the command that it waits for has been answered: a script is ended, and says so. */
  endWhenAnswered(): void {
    if ((this.holds & Hold.answer) === 0) this.end()
    else {
      this.isLeaving = true
      this.client.abort()
    }
  }

  /** Calls back once the socket is closed, with what a command threw if that was why; at once if it is closed already. */
  whenGone(notify: (crash: Crash | undefined) => void): void {
    if (this.isGone) notify(this.crash)
    else this.mourners.push(notify)
  }

  cut(): void {
    this.isEnded = true
    this.holds |= Hold.cut
    this.host.state.turns.leave(this)
    // At once, not when the socket has closed: until then a turn that goes on could publish without end to it.
    this.client.leave()
    this.socket.destroy()
  }

  onOverflow(): void {
    if (this.isEnded) return
    this.host.state.stats.replyOverflows++
    this.cut()
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

  /** Writes the messages that `onPush` announced. */
  flushPushed(): void {
    this.isPushed = false
    this.flush()
    this.count()
  }

  takeTurn(): void {
    this.release(Hold.turn)
  }

  private onData(bytes: Buffer): void {
    const { host } = this
    if (this.isEnded) return
    host.state.stats.inputBytes += bytes.length
    this.parser.feed(bytes)
    if (this.holds === 0) this.runTurn()
    else this.count()
  }

  /** It will send nothing more. What is answered at once is answered still; who waits for a script has given up. */
  private onEnd(): void {
    this.isInputOver = true
    this.client.abort()
    if (this.holds === 0) this.end()
  }

  private onDrain(): void {
    this.softSinceMs = 0
    this.count()
    if ((this.holds & Hold.drain) !== 0) this.release(Hold.drain)
  }

  private runTurn(): void {
    const { host } = this
    host.clock.enter()
    host.state.coherence?.look()
    try {
      this.runCommands()
    } catch (defect) {
      this.fall(defect)
    } finally {
      host.flushPushed()
      host.clock.leave()
    }
    this.count()
  }

  private runCommands(): void {
    const { client, parser, host, socket } = this
    const { settings, turns } = host.state
    const { replyBytesHigh } = settings
    client.lastAtMs = host.clock.nowMs()
    if (!turns.begin() && parser.hasRest) this.yield()
    parser.isGuest = (client.modes & ClientMode.unauthenticated) !== 0
    while (this.holds === 0 && parser.next()) {
      const { args } = parser
      const waiting = client.execute(args)
      if (waiting !== undefined) this.wait(waiting)
      else if (client.isClosing) break
      if (client.reply.size >= replyBytesHigh) {
        this.flush()
        if (socket.writableLength >= replyBytesHigh) this.pause()
      }
      if (settings.password !== undefined) parser.isGuest = (client.modes & ClientMode.unauthenticated) !== 0
      const work = client.keyspace.trie.mask === 0 ? args.length : reactionWork
      if (turns.spend(work) && parser.hasRest && this.holds === 0) this.yield()
    }
    if (parser.error !== undefined && this.holds === 0 && !client.isClosing) {
      host.state.stats.protocolErrors++
      client.fail(`ERR ${parser.error}`)
      client.isClosing = true
    }
    if (client.isClosing || (this.isInputOver && this.holds === 0)) this.end()
    else this.flush()
    if ((this.holds & Hold.drain) === 0 && socket.writableLength >= replyBytesHigh) this.pause()
  }

  /** A command answers later: nothing of this connection runs before it has. */
  private wait(answered: Promise<void>): void {
    this.hold(Hold.answer)
    answered.then(
      () => this.release(Hold.answer),
      (defect) => this.fall(defect)
    )
  }

  private pause(): void {
    this.host.state.stats.pauses++
    this.hold(Hold.drain)
  }

  private yield(): void {
    this.hold(Hold.turn)
    this.host.state.turns.later(this)
  }

  private hold(why: number): void {
    this.holds |= why
    this.socket.pause()
  }

  /** Goes on with what the client had sent, unless it is held for another reason still. */
  private release(why: number): void {
    this.holds &= ~why
    if (this.isLeaving && (this.holds & Hold.answer) === 0) this.end()
    if (this.holds !== 0 || this.isEnded) return
    this.runTurn()
    if (this.holds === 0 && !this.isEnded) this.socket.resume()
  }

  /** A command threw. */
  private fall(defect: unknown): void {
    this.host.state.stats.crashes++
    this.crash ??= { defect }
    this.cut()
  }

  /** Tells the server how much of its memory this client holds; who asks for more when all of it is taken has to go. */
  private count(): void {
    const { client, host, parser, socket } = this
    const bytes = this.isGone ? 0 : client.heldBytes + parser.heldBytes + socket.writableLength
    if (bytes === this.heldBytes) return
    const { settings, stats } = host.state
    const isMore = bytes > this.heldBytes
    host.state.clientBytes += bytes - this.heldBytes
    this.heldBytes = bytes
    const tenantBytes = client.isBound ? this.countFor(client.tenant as Tenant) : 0
    if (!isMore || bytes <= heldBytesSpared || this.isEnded) return
    const shareBytes = Math.floor(settings.clientBytesMax / tenantShare)
    if (tenantBytes > shareBytes) {
      stats.tenantMemoryDisconnections++
      this.dismiss(RespError.tenantMemory(shareBytes))
    } else if (host.state.clientBytes > settings.clientBytesMax) {
      stats.memoryDisconnections++
      this.dismiss(RespError.clientMemory(settings.clientBytesMax))
    }
  }

  /** Tells what it holds for the tenant that it is logged in as; returns what all who are logged in as that one do. */
  private countFor(tenant: Tenant): number {
    const { tenantBytes } = this.host.state
    const bytes = (tenantBytes.get(tenant) ?? 0) + this.heldBytes - this.heldForTenant
    this.heldForTenant = this.heldBytes
    if (bytes === 0) tenantBytes.delete(tenant)
    else tenantBytes.set(tenant, bytes)
    return bytes
  }

  /** Cuts the connection. Why, the client hears where no replies wait, which it would have to take first. */
  private dismiss(why: string): void {
    if (this.waitingBytes === 0) this.socket.write(`-${why}\r\n`, "latin1")
    this.cut()
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
    this.cut()
  }

  private onIdle(): void {
    const isServed = (this.holds & (Hold.turn | Hold.answer)) !== 0
    if ((this.client.modes & subscriber) !== 0 || isServed) return
    this.host.state.stats.idleDisconnections++
    this.cut()
  }

  private onClose(): void {
    this.isEnded = true
    this.isGone = true
    this.host.state.turns.leave(this)
    this.client.leave()
    this.count()
    this.host.state.clients.delete(this.client.id)
    this.host.onClosed(this)
    for (const notify of this.mourners.splice(0)) notify(this.crash)
  }
}

const subscriber = ClientMode.subscribed | ClientMode.listening
const heldBytesSpared = 64 * 1024 // bytes; who holds no more is not sent away for what others hold
const keepAliveMs = 300_000 // Redis' tcp-keepalive
