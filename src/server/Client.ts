/**
 * Who talks to us: the state of one connection as commands see it, without the socket.
 *
 * `execute` is the way of every command: found, counted, checked and run, all in one synchronous call. What a client
 * may be besides plain (subscribed, in a transaction, unauthenticated, not to be answered) is one number, so that a
 * plain client pays one test for it.
 */
import type { Subscriber } from "../cache/EventBus.ts"
import type { FillScope } from "../cache/Fills.ts"
import { Loans } from "../cache/Loans.ts"
import type { Tenant } from "../cache/Tenants.ts"
import type { Keyspace } from "../kernel/index.ts"
import type { Command } from "./Command.ts"
import type { FillPort } from "./commands/FillPort.ts"
import type { Running, RunOutcome } from "./commands/ScriptPort.ts"
import type { TriggerPort } from "./commands/TriggerPort.ts"
import { RespError } from "./RespError.ts"
import { RespWriter } from "./RespWriter.ts"
import { type ServerState, tenantShare } from "./ServerState.ts"
import { escapeGlob, runForOwner } from "./TenantRoutes.ts"
import { reactionWork, workPerLook } from "./Turns.ts"

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
  listening: 32,
  /** It acts as a tenant: its keys, channels, triggers and scripts are that tenant's. */
  tenant: 64
} as const

export class Client implements Subscriber {
  readonly reply: RespWriter
  /** Where the command that runs finds its keys. */
  keyspace: Keyspace
  /** As whom it acts; null for an operator. */
  tenant: Tenant | null = null
  /** It logged in as its tenant, and is nobody else until it goes. */
  isBound = false
  /** The hash of the token by which it did; null for who has not. */
  tokenHash: string | null = null
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
  /** The keyspaces of the transaction that EXEC runs, each with an open operation; null while none does. */
  private executing: Keyspace[] | null = null
  /** What its command waits for, where that can be ended. */
  private running: Running | null = null
  isGone = false
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
    return this.modes === 0 ? this.run(command, args) : this.executeInMode(command, args)
  }

  private run(command: Command, args: readonly string[]): Promise<void> | undefined {
    const { fills } = this.server
    if (fills === undefined || !fills.isActive || command.row.fills === undefined || this.executing !== null) {
      return this.runHere(command, args)
    }
    if (this.isOneKeyHere(command, args)) return this.runHere(command, args)
    const wanted = new WantedKeys(this, fills)
    wanted.add(command, args)
    return this.afterFills(wanted, () => this.runHere(command, args))
  }

  /** It names one key, which is here: so it is with most reads, and nothing needs to be made for these. */
  private isOneKeyHere(command: Command, args: readonly string[]): boolean {
    const at = command.keys[0]
    if (at === 0 || at !== command.keys[1] || (this.tenant === null && this.server.routes.size > 0)) return false
    return this.keyspace.peek(args[at] as string) !== undefined
  }

  /** Does something at once where no key is wanted from elsewhere, else when all are here; only this client waits. */
  private afterFills(wanted: WantedKeys, then: () => Promise<void> | undefined | void): Promise<void> | undefined {
    if (wanted.isEmpty) return then() as Promise<void> | undefined
    return wanted.bring().then((failure) => {
      if (failure === undefined && !this.isGone) return wanted.loans.use(then)
      wanted.loans.drop()
      if (failure !== undefined && !this.isGone) this.fail(RespError.notBrought(failure))
    })
  }

  /** An operator's keys may be a tenant's in their displayed form; where there are no tenants, that costs this test. */
  private runHere(command: Command, args: readonly string[]): Promise<void> | undefined {
    const isPlain = this.server.routes.size === 0 || command.keys[0] === 0 || this.tenant !== null
    return (isPlain ? command.run(this, args) : runForOwner(this, command, args)) as Promise<void> | undefined
  }

  /** Runs a command on another keyspace. One that answers later has taken what it needs of it before it returns. */
  runIn(keyspace: Keyspace, command: Command, args: readonly string[]): Promise<void> | void {
    const own = this.keyspace
    this.keyspace = keyspace
    if (this.executing !== null) this.joinTransaction(keyspace)
    if (keyspace.trie.mask !== 0) this.server.turns.count(reactionWork)
    try {
      return command.run(this, args)
    } finally {
      this.keyspace = own
    }
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
    } else if ((modes & ClientMode.tenant) !== 0 && !this.mayAsTenant(command)) {
      this.refuse(this.tenantRefusal(command), command)
    } else if ((modes & ClientMode.multi) !== 0 && !command.isNeverQueued) this.enqueue(command, args)
    else waiting = this.run(command, args)
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
    this.abort()
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
    if (this.executing === null) return this.server.turns.repeat(() => this.isGone || step())
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

  /** Waits for a script, which ends when the client is gone before it has. */
  async untilGone(running: Running): Promise<RunOutcome> {
    this.running = running
    try {
      return await running.outcome
    } finally {
      this.running = null
    }
  }

  /** Ends what its command waits for, if that can be ended. */
  abort(): void {
    this.running?.end()
  }

  // Tenants

  /** The engine of its triggers: those of its tenant. */
  get triggers(): TriggerPort | undefined {
    const { triggers } = this.server
    return this.tenant === null ? triggers : triggers?.forTenant(this.tenant)
  }

  /**
   * Acts as this tenant from now on, `isForGood` as one who has logged in; null ends it. Answers why not, if not: what was
   * begun as one must not go on as another.
   */
  actAs(tenant: Tenant | null, isForGood: boolean): string | undefined {
    if (this.isBound) return tenant === this.tenant && isForGood ? undefined : RespError.boundToTenant
    if (this.subscriptionCount > 0 || this.executing !== null) return RespError.actAsInMiddle
    if (isForGood) {
      const { tenantClientsMax } = this.server.settings
      let connected = 0
      for (const each of this.server.clients.values()) if (each.isBound && each.tenant === tenant) connected++
      if (connected >= tenantClientsMax) return RespError.tenantClients(tenantClientsMax)
    }
    this.setTenant(tenant)
    this.isBound = isForGood
    this.tokenHash = isForGood ? (tenant as Tenant).tokenHash : null
    return undefined
  }

  private setTenant(tenant: Tenant | null): void {
    this.tenant = tenant
    this.keyspace = tenant?.keyspace ?? this.server.keyspace
    if (tenant === null) this.modes &= ~ClientMode.tenant
    else this.modes |= ClientMode.tenant
  }

  private mayAsTenant({ reach }: Command): boolean {
    return (this.tenant as Tenant).isOpen && (reach === "own" || (reach === "acting" && !this.isBound))
  }

  private tenantRefusal({ fullName }: Command): string {
    if (!(this.tenant as Tenant).isOpen) return RespError.tenantGone
    return this.isBound ? RespError.notForTenants(fullName) : RespError.notAsTenant(fullName)
  }

  /** What the channels of its tenant begin with, which it neither says nor sees; "" for an operator. */
  get channelScope(): string {
    return this.tenant === null ? "" : `${this.tenant.prefix}:`
  }

  /** The same as a glob. */
  get patternScope(): string {
    return this.tenant === null ? "" : escapeGlob(`${this.tenant.prefix}:`)
  }

  /** Whether CLIENT may show it to another, or end it for that one. */
  isShownTo({ tenant, isBound }: Client): boolean {
    return tenant === null || (this.tenant === tenant && (this.isBound || !isBound))
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

  /** Runs the commands of a transaction, once the keys that they name have come from elsewhere. */
  runTransaction(queue: readonly QueuedCommand[]): Promise<void> | undefined {
    const { fills } = this.server
    if (fills === undefined || !fills.isActive) return void this.runQueue(queue)
    const wanted = new WantedKeys(this, fills)
    for (const { command, args } of queue) wanted.add(command, args)
    return this.afterFills(wanted, () => this.runQueue(queue))
  }

  /**
   * Runs the commands of a transaction as one operation: each sees what the triggers of those before it have done, and all
   * of them share one budget (law 7). Messages that come of it follow the reply instead of landing within it.
   */
  private runQueue(queue: readonly QueuedCommand[]): void {
    this.isComposing = true
    this.executing = []
    this.reply.array(queue.length)
    this.joinTransaction(this.keyspace)
    try {
      for (const { command, args } of queue) {
        this.runHere(command, args)
        this.reply.guard()
      }
      this.server.turns.count(workPerLook)
    } finally {
      const keyspaces = this.executing
      this.executing = null
      for (const keyspace of keyspaces) keyspace.endOperation()
    }
    this.endComposing()
  }

  /** An operator's transaction may reach several keyspaces: it is one operation in each. */
  private joinTransaction(keyspace: Keyspace): void {
    const keyspaces = this.executing as Keyspace[]
    if (keyspaces.includes(keyspace)) return
    keyspaces.push(keyspace)
    keyspace.beginOperation()
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
    const name = this.channelScope + channel
    const refusal = this.refuseName(name)
    if (refusal !== undefined) return refusal
    this.channels.add(channel)
    this.subscriptionBytes += subscriptionBytes + name.length
    this.server.bus.subscribe(name, this)
    return undefined
  }

  unsubscribe(channel: string): void {
    if (!this.channels.delete(channel)) return
    const name = this.channelScope + channel
    this.subscriptionBytes -= subscriptionBytes + name.length
    this.server.bus.unsubscribe(name, this)
  }

  /** Returns an error where it may not listen to that pattern too. */
  psubscribe(pattern: string): string | undefined {
    if (this.patterns.has(pattern)) return undefined
    const { server } = this
    const name = this.patternScope + pattern
    const refusal = this.refuseName(name)
    if (refusal !== undefined) return refusal
    const listeners = server.patterns.get(name) ?? 0
    if (listeners === 0) {
      const { patternBytesMax } = server.settings
      const ownMax = Math.floor(patternBytesMax / tenantShare)
      if (this.tenant !== null && patternBytesOf(server, this.patternScope) + name.length > ownMax) {
        return RespError.tooManyPatterns(ownMax)
      }
      if (server.patternBytes + name.length > patternBytesMax) return RespError.tooManyPatterns(patternBytesMax)
      server.patternBytes += name.length
    }
    server.patterns.set(name, listeners + 1)
    this.patterns.add(pattern)
    this.subscriptionBytes += subscriptionBytes + name.length
    server.bus.psubscribe(name, this)
    return undefined
  }

  punsubscribe(pattern: string): void {
    if (!this.patterns.delete(pattern)) return
    const { server } = this
    const name = this.patternScope + pattern
    const listeners = server.patterns.get(name) as number
    if (listeners > 1) server.patterns.set(name, listeners - 1)
    else {
      server.patterns.delete(name)
      server.patternBytes -= name.length
    }
    this.subscriptionBytes -= subscriptionBytes + name.length
    server.bus.punsubscribe(name, this)
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
      reply.bulk(this.tenant === null ? pattern : pattern.slice(this.patternScope.length))
    }
    reply.bulk(this.tenant === null ? channel : channel.slice(this.channelScope.length))
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
    this.modes = 0
    if (this.isBound) this.modes = ClientMode.tenant
    else {
      this.setTenant(null)
      if (this.server.settings.password !== undefined) this.modes = ClientMode.unauthenticated
    }
  }
}

/** Keys that commands are about to look at, which are not here and may be elsewhere. */
class WantedKeys {
  /** What may not be kept here, for the step in which they are looked at. */
  readonly loans = new Loans()
  private readonly keys: WantedKey[] = []

  constructor(
    private readonly client: Client,
    private readonly fills: FillPort
  ) {}

  get isEmpty(): boolean {
    return this.keys.length === 0
  }

  add(command: Command, args: readonly string[]): void {
    const scope = command.fillScope(args)
    if (scope === undefined) return
    const { client, fills } = this
    const { routes } = client.server
    const isRouted = routes.size > 0 && client.tenant === null
    for (const displayed of command.keysOf(args)) {
      const owner = isRouted ? routes.route(displayed) : undefined
      const keyspace = owner?.keyspace ?? client.keyspace
      const key = owner === undefined ? displayed : displayed.slice(owner.prefix.length + 1)
      if (fills.isWanted(keyspace, key, scope)) this.keys.push({ keyspace, key, scope })
    }
  }

  /**
   * Fulfilled when all have been looked for: with why one of them could not be had, if so. Some at a time, so that a
   * command of very many keys neither takes all the places of those who wait nor keeps the others from their turns.
   */
  async bring(): Promise<string | undefined> {
    const { client, fills, keys, loans } = this
    for (let from = 0; from < keys.length && !client.isGone; from += broughtAtOnce) {
      if (from > 0) await new Promise<void>((resolve) => setImmediate(resolve))
      const some = keys.slice(from, from + broughtAtOnce)
      const outcomes = await Promise.allSettled(
        some.map(({ keyspace, key, scope }) => fills.borrow(loans, keyspace, key, scope))
      )
      for (const outcome of outcomes) {
        if (outcome.status === "rejected")
          return outcome.reason instanceof Error ? outcome.reason.message : String(outcome.reason)
      }
    }
    return undefined
  }
}

interface WantedKey {
  readonly keyspace: Keyspace
  readonly key: string
  readonly scope: FillScope
}

export interface QueuedCommand {
  readonly command: Command
  readonly args: readonly string[]
}

const broughtAtOnce = 256 // keys of one client: a few questions to each peer, and some milliseconds of work
const argumentBytes = 16 // what a string's head and its place in the array cost at least
const subscriptionBytes = 100 // what a subscription costs beside its name: places in a map and two sets

/** Bytes of the distinct patterns that begin so. */
const patternBytesOf = ({ patterns }: ServerState, scope: string): number => {
  let bytes = 0
  for (const pattern of patterns.keys()) if (pattern.startsWith(scope)) bytes += pattern.length
  return bytes
}
