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

/** What a client can do to its connection. */
export interface Wire {
  readonly remoteAddress: string
  readonly localAddress: string
  /** Messages were added to the replies outside of this client's own turn. */
  onPush(): void
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
  readonly reply = new RespWriter()
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
  /** A reply is being put together that no message may land in. */
  private isComposing = false
  readonly deferred = new RespWriter()
  /** A command of the open transaction was refused, so EXEC will be. */
  private isQueueSpoilt = false

  constructor(
    readonly id: number,
    readonly server: ServerState,
    readonly wire: Wire
  ) {
    this.keyspace = server.keyspace
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
    if (!command.accepts(args.length)) return this.refuse(RespError.arity(command.fullName))
    this.lastCommand = command
    return this.modes === 0 ? (command.run(this, args) as Promise<void> | undefined) : this.executeInMode(command, args)
  }

  /** Answers an error that the command's own work did not cause; spoils an open transaction. */
  private refuse(message: string): undefined {
    this.isQueueSpoilt = true
    this.fail(message)
  }

  /** Answers an error. */
  fail(message: string): void {
    this.server.stats.errors++
    this.reply.error(message)
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
      this.refuse(RespError.noAuth)
    } else if ((modes & ClientMode.subscribed) !== 0 && !command.isAllowedWhenSubscribed) {
      this.refuse(RespError.subscribedOnly(command.fullName))
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
    this.isQueueSpoilt = false
    return queue
  }

  private enqueue(command: Command, args: readonly string[]): undefined {
    if (!command.isAllowedInTransaction) return this.refuse(RespError.notInTransaction)
    const { queueBytesMax, queueCommandsMax } = this.server.settings
    let bytes = 0
    for (const arg of args) bytes += arg.length
    if (this.queue.length === queueCommandsMax) return this.refuse(RespError.queueFull(`${queueCommandsMax} commands`))
    if (this.queueBytes + bytes > queueBytesMax) return this.refuse(RespError.queueFull(`${queueBytesMax} bytes`))
    this.queue.push({ command, args })
    this.queueBytes += bytes
    this.reply.simple("QUEUED")
  }

  /** Runs the commands of a transaction; messages that come of them follow the reply instead of landing within it. */
  runQueue(queue: readonly QueuedCommand[]): void {
    this.isComposing = true
    this.reply.array(queue.length)
    for (const { command, args } of queue) command.run(this, args)
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
    for (const channel of this.channels) this.server.bus.unsubscribe(channel, this)
    for (const pattern of this.patterns) this.server.bus.punsubscribe(pattern, this)
    this.channels.clear()
    this.patterns.clear()
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
