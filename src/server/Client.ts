/**
 * Who talks to us: the state of one connection as commands see it, without the socket.
 *
 * `execute` is the way of every command: found, counted, checked and run, all in one synchronous call. What a client
 * may be besides plain (subscribed, in a transaction, unauthenticated, not to be answered) is one number, so that a
 * plain client pays one test for it.
 */
import type { Subscriber } from "../cache/EventBus.ts"
import type { Keyspace } from "../kernel/index.ts"
import type { Command } from "./Command.ts"
import { RespError } from "./RespError.ts"
import { RespWriter } from "./RespWriter.ts"
import type { ServerState } from "./ServerState.ts"
import { workPerLook } from "./Turns.ts"

/** What a client can do to its connection. */
export interface Wire {
  readonly remoteAddress: string
  readonly localAddress: string
  /** Messages were added to the replies outside of this client's own turn. */
  onPush(): void
  /** The replies of one command have passed `replyBytesMax`, and are lost. */
  onOverflow(): void
  /** Cuts the connection; waiting replies are lost. */
  cut(): void
}

/** Bits of `Client.modes`. */
export const ClientMode = {
  subscribed: 1,
  multi: 2,
  unauthenticated: 4,
  replyOff: 8,
  /** The next command is not answered (CLIENT REPLY SKIP). */
  replySkip: 16,
  /** Subscribed over RESP3, where every command is allowed and messages come between the replies. */
  listening: 32
} as const

export class Client implements Subscriber {
  readonly reply: RespWriter
  readonly keyspace: Keyspace
  modes = 0
  /** The connection ends once its replies are written. */
  isClosing = false
  name = ""
  libraryName = ""
  libraryVersion = ""
  lastCommand: Command | undefined
  lastAtMs: number
  readonly connectedAtMs: number
  readonly channels = new Set<string>()
  readonly patterns = new Set<string>()
  /** The commands of an open transaction. */
  queue: QueuedCommand[] = []
  private queueBytes = 0
  private queueArguments = 0
  /** A reply is being put together that no message may land in. */
  private isComposing = false
  readonly deferred = new RespWriter()
  /** EXEC runs: what it runs may not wait. */
  private isExecuting = false
  private isGone = false
  private subscriptionBytes = 0
  /** A command of the open transaction was refused, so EXEC will be. */
  private isQueueSpoilt = false

  constructor(
    readonly id: number,
    readonly server: ServerState,
    readonly wire: Wire
  ) {
    this.keyspace = server.keyspace
    this.reply = new RespWriter(server.settings.replyBytesMax, () => wire.onOverflow())
    this.connectedAtMs = server.clock.nowMs()
    this.lastAtMs = this.connectedAtMs
    if (server.settings.password !== undefined) this.modes = ClientMode.unauthenticated
  }

  /** Runs one command and leaves its reply in `reply`: when it returns, or once the promise that it returns is done. */
  execute(args: readonly string[]): Promise<void> | undefined {
    const { server } = this
    server.stats.commands++
    let command = server.commands.find(args[0] as string)
    if (command !== undefined && command.subcommands.size > 0 && args.length > 1) {
      const subcommand = command.subcommands.get((args[1] as string).toLowerCase())
      if (subcommand === undefined) return this.refuse(RespError.unknownSubcommand(args[1] as string, command.fullName))
      command = subcommand
    }
    if (command === undefined) return this.refuseUnknown(args)
    if (!command.accepts(args.length)) return this.refuse(command.refusalOf(args.length), command)
    this.lastCommand = command
    return this.modes === 0 ? (command.run(this, args) as Promise<void> | undefined) : this.executeInMode(command, args)
  }

  /** Answers an error that the command's own work did not cause; spoils an open transaction, or ends it as EXEC does. */
  private refuse(message: string, command?: Command): undefined {
    this.isQueueSpoilt = true
    if (command?.row.name !== "exec") {
      this.fail(message)
      return
    }
    this.endTransaction()
    this.fail(RespError.execRefused(message))
  }

  /** Answers an error. */
  fail(message: string): void {
    this.server.stats.errors++
    this.reply.error(message)
  }

  /** Answers why somebody did not want it to happen (a trigger's BEFORE_WRITE or BEFORE_DELETE). */
  reject(why: string): void {
    this.fail(RespError.rejected(why))
  }

  private refuseUnknown(args: readonly string[]): undefined {
    const name = (args[0] as string).toLowerCase()
    if (name !== "post" && name !== "host:") return this.refuse(RespError.unknownCommand(args))
    // A browser or a proxy was made to talk to us: no line of what it sends may be taken for a command.
    this.reply.clear()
    this.wire.cut()
    this.isClosing = true
  }

  private executeInMode(command: Command, args: readonly string[]): Promise<void> | undefined {
    const { modes } = this
    let waiting: Promise<void> | undefined
    if ((modes & ClientMode.listening) !== 0) this.isComposing = true
    const isSilent = (modes & (ClientMode.replyOff | ClientMode.replySkip)) !== 0
    const before = isSilent ? this.reply.take() : ""
    if ((modes & ClientMode.unauthenticated) !== 0 && !command.isAllowedWithoutPassword) {
      this.refuse(RespError.noAuth, command)
    } else if ((modes & ClientMode.subscribed) !== 0 && !command.isAllowedWhenSubscribed) {
      this.refuse(RespError.subscribedOnly(command.fullName), command)
    } else if ((modes & ClientMode.multi) !== 0 && !command.isNeverQueued) this.enqueue(command, args)
    else waiting = command.run(this, args) as Promise<void> | undefined
    if ((modes & ClientMode.listening) !== 0) this.endComposing()
    if (!isSilent) return waiting
    if (waiting === undefined) this.silence(before, modes)
    else return waiting.then(() => this.silence(before, modes))
  }

  /** Takes back what a command answered, unless it was CLIENT REPLY ON. */
  private silence(before: string, modes: number): void {
    const after = this.reply.take()
    const isStillSilent = (this.modes & (ClientMode.replyOff | ClientMode.replySkip)) !== 0
    this.reply.raw(isStillSilent ? before : before + after)
    this.modes &= ~(modes & ClientMode.replySkip)
  }

  /** Bytes that are kept for it: its transaction, its subscriptions, and what it has yet to be sent. */
  get heldBytes(): number {
    return this.queueBytes + this.subscriptionBytes + this.reply.size + this.deferred.size
  }

  /** It is gone or has to go: whatever is kept for it is let go. */
  leave(): void {
    this.isGone = true
    this.unsubscribeAll()
    this.endTransaction()
    this.reply.clear()
    this.deferred.clear()
  }

  /**
   * Does in steps what may be too long for one turn: `step` is called until it answers true, for a turn each time
   * (`Turns.spend` says when it is over). Within EXEC all of it is done at once.
   */
  inTurns(step: () => boolean): Promise<void> | undefined {
    if (!this.isExecuting) return this.server.turns.repeat(() => this.isGone || step())
    while (!step());
    return undefined
  }

  /**
   * Does something for each key that `args` names after the command, in as many turns as it takes, then `done`. The commands
   * that come here promise no more than Redis' clients can see: an answer that covers each key once. A turn may end, and
   * what reacts is run, after each portion of `workPerLook` keys: these are one operation, with a budget of its own.
   */
  overKeys(args: readonly string[], each: (key: string) => void, done: () => void): Promise<void> | undefined {
    const { keyspace } = this
    const { turns } = this.server
    let at = 1
    return this.inTurns(() => {
      while (at < args.length) {
        const end = Math.min(args.length, at + workPerLook)
        const work = keyspace.trie.mask === 0 ? end - at : workPerLook
        const wasHeld = keyspace.hold()
        try {
          for (; at < end; at++) each(args[at] as string)
        } finally {
          keyspace.release(wasHeld)
        }
        if (turns.spend(work) && at < args.length) return false
      }
      done()
      return true
    })
  }

  // Transactions

  beginTransaction(): void {
    this.modes |= ClientMode.multi
    this.isQueueSpoilt = false
  }

  /** Ends the transaction and hands out its commands; undefined when one of them was refused. */
  endTransaction(): QueuedCommand[] | undefined {
    const queue = this.isQueueSpoilt ? undefined : this.queue
    this.modes &= ~ClientMode.multi
    this.queue = []
    this.queueBytes = 0
    this.queueArguments = 0
    this.isQueueSpoilt = false
    return queue
  }

  private enqueue(command: Command, args: readonly string[]): undefined {
    if (!command.isAllowedInTransaction) return this.refuse(RespError.notInTransaction)
    const { queueArgumentsMax, queueBytesMax } = this.server.settings
    let bytes = args.length * argumentBytes
    for (const arg of args) bytes += arg.length
    if (this.queueArguments + args.length > queueArgumentsMax) {
      return this.refuse(RespError.queueFull(`${queueArgumentsMax} arguments`))
    }
    if (this.queueBytes + bytes > queueBytesMax) return this.refuse(RespError.queueFull(`${queueBytesMax} bytes`))
    this.queue.push({ command, args })
    this.queueArguments += args.length
    this.queueBytes += bytes
    this.reply.simple("QUEUED")
  }

  /**
   * Runs the commands of a transaction as one operation: each sees what the triggers of those before it have done, and all
   * of them share one budget (law 7). Messages that come of it follow the reply instead of landing within it.
   */
  runQueue(queue: readonly QueuedCommand[]): void {
    this.isComposing = true
    this.isExecuting = true
    this.reply.array(queue.length)
    this.keyspace.beginOperation()
    try {
      for (const { command, args } of queue) {
        command.run(this, args)
        this.reply.guard()
      }
      this.server.turns.count(workPerLook)
    } finally {
      this.isExecuting = false
      this.keyspace.endOperation()
    }
    this.endComposing()
  }

  private endComposing(): void {
    this.isComposing = false
    if (this.deferred.size > 0) this.reply.raw(this.deferred.take())
  }

  // Publish and subscribe

  get subscriptionCount(): number {
    return this.channels.size + this.patterns.size
  }

  /** Returns an error where it may not listen to that channel too. */
  subscribe(channel: string): string | undefined {
    if (this.channels.has(channel)) return undefined
    const refusal = this.refuseName(channel)
    if (refusal !== undefined) return refusal
    this.channels.add(channel)
    this.subscriptionBytes += subscriptionBytes + channel.length
    this.server.bus.subscribe(channel, this)
    return undefined
  }

  unsubscribe(channel: string): void {
    if (!this.channels.delete(channel)) return
    this.subscriptionBytes -= subscriptionBytes + channel.length
    this.server.bus.unsubscribe(channel, this)
  }

  /** Returns an error where it may not listen to that pattern too. */
  psubscribe(pattern: string): string | undefined {
    if (this.patterns.has(pattern)) return undefined
    const { server } = this
    const refusal = this.refuseName(pattern)
    if (refusal !== undefined) return refusal
    const listeners = server.patterns.get(pattern) ?? 0
    if (listeners === 0) {
      const { patternBytesMax } = server.settings
      if (server.patternBytes + pattern.length > patternBytesMax) return RespError.tooManyPatterns(patternBytesMax)
      server.patternBytes += pattern.length
    }
    server.patterns.set(pattern, listeners + 1)
    this.patterns.add(pattern)
    this.subscriptionBytes += subscriptionBytes + pattern.length
    server.bus.psubscribe(pattern, this)
    return undefined
  }

  punsubscribe(pattern: string): void {
    if (!this.patterns.delete(pattern)) return
    const { server } = this
    const listeners = server.patterns.get(pattern) as number
    if (listeners > 1) server.patterns.set(pattern, listeners - 1)
    else {
      server.patterns.delete(pattern)
      server.patternBytes -= pattern.length
    }
    this.subscriptionBytes -= subscriptionBytes + pattern.length
    server.bus.punsubscribe(pattern, this)
  }

  private refuseName(name: string): string | undefined {
    const { channelBytesMax, subscriptionBytesMax } = this.server.settings
    if (name.length > channelBytesMax) return RespError.channelTooLong(channelBytesMax)
    const bytes = this.subscriptionBytes + subscriptionBytes + name.length
    return bytes > subscriptionBytesMax ? RespError.tooManySubscriptions(subscriptionBytesMax) : undefined
  }

  onMessage(channel: string, payload: string, pattern: string | null): void {
    const reply = this.isComposing ? this.deferred : this.reply
    if (pattern === null) {
      reply.push(3)
      reply.bulk("message")
    } else {
      reply.push(4)
      reply.bulk("pmessage")
      reply.bulk(pattern)
    }
    reply.bulk(channel)
    reply.bulk(payload)
    this.wire.onPush()
  }

  /** Puts the modes right after its subscriptions or the protocol have changed. */
  settleSubscribed(): void {
    this.modes &= ~(ClientMode.subscribed | ClientMode.listening)
    if (this.subscriptionCount === 0) return
    this.modes |= this.reply.protocol === 2 ? ClientMode.subscribed : ClientMode.listening
  }

  speak(protocol: 2 | 3): void {
    this.reply.protocol = protocol
    this.deferred.protocol = protocol
    this.settleSubscribed()
  }

  unsubscribeAll(): void {
    for (const channel of this.channels) this.unsubscribe(channel)
    for (const pattern of this.patterns) this.punsubscribe(pattern)
    this.settleSubscribed()
  }

  /** Everything back to how it was when the connection began (RESET). */
  reset(): void {
    this.unsubscribeAll()
    this.endTransaction()
    this.speak(2)
    this.name = ""
    this.modes = this.server.settings.password === undefined ? 0 : ClientMode.unauthenticated
  }
}

export interface QueuedCommand {
  readonly command: Command
  readonly args: readonly string[]
}

const argumentBytes = 16 // what a string's head and its place in the array cost at least
const subscriptionBytes = 100 // what a subscription costs beside its name: places in a map and two sets
