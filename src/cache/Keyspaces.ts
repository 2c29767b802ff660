/**
 * Who owns the entries: this scope, above every process that serves them, so that no crash below loses a key.
 *
 * One keyspace is everybody's, and each tenant has one. They react and are gated alike, by what is given from above as
 * `Reactions`, at construction, and are kept coherent with other instances' by what is given as `Replication`.
 */
import { randomBytes } from "node:crypto"
import { Context, Effect, Layer, Option } from "effect"
import { BytePool, type EventSink, Freshness, type Gate, KeyHash, Keyspace, type Replica } from "../kernel/index.ts"
import { repeatedError } from "../telemetry/index.ts"
import { Agenda, Appointment } from "./Agenda.ts"
import { CacheClock } from "./CacheClock.ts"
import { SharedMemory } from "./SharedMemory.ts"

/** Takes the keyspaces' events, and is asked before writes: the triggers, in the product; nothing, in a plain cache. */
export class Reactions extends Context.Tag("mimosa-cache/cache/Reactions")<Reactions, EventSink & Gate>() {
  static readonly layerNone: Layer.Layer<Reactions> = Layer.succeed(Reactions, {
    onEvent() {},
    onSettled() {},
    beforeWrite: () => null,
    beforeDelete: () => null
  })
}

/** How the entries of this process are named, and known to others. */
export interface ReplicationService {
  /** Null: there are no others. */
  readonly replica: Replica | null
  readonly freshness: Freshness
  /** Of the keyspace whose keys are displayed with `head` before them: `tenant_123:`, or nothing. */
  readonly hashOf: (head: string) => KeyHash
  /** There is this keyspace, with this replica and nothing in it. In the turn in which it is opened. */
  readonly onOpen: (keyspace: Keyspace, head: string) => void
  /** It is about to be emptied and is no longer to be shared; of that, its replica hears nothing else. */
  readonly onClose: (keyspace: Keyspace) => void
}

/** Where nobody gives one, nothing is shared: `Keyspaces.layer` does not ask for it. */
export class Replication extends Context.Tag("mimosa-cache/cache/Replication")<Replication, ReplicationService>() {}

const makeUnshared = (): ReplicationService => {
  const secret = randomBytes(16).toString("latin1") // nobody else has to know the hashes
  const hashOf = (head: string) => new KeyHash(secret, head)
  return { replica: null, freshness: new Freshness(), hashOf, onOpen() {}, onClose() {} }
}

/** Is told when there is something to do earlier than was known, mostly an expiry. Supplied by the scheduler. */
export class Wakeups extends Context.Tag("mimosa-cache/cache/Wakeups")<Wakeups, Wakeup>() {
  static readonly layer: Layer.Layer<Wakeups> = Layer.sync(Wakeups, () => new Wakeup())
}

/** A place where the keyspaces leave word and the scheduler, while there is one, listens. */
export class Wakeup {
  private listener: ((atMs: number) => void) | null = null

  /**
   * Starts listening, in the place of whoever did. The returned function stops it, and does nothing once somebody else
   * listens: a scheduler that was killed may be cleaned up after the next one has begun.
   */
  listen(listener: (atMs: number) => void): () => void {
    this.listener = listener
    return () => {
      if (this.listener === listener) this.listener = null
    }
  }

  readonly at = (atMs: number): void => {
    this.listener?.(atMs)
  }
}

export interface KeyspaceLimits {
  /** Entries at most; the least recently used go first. */
  readonly maxEntries: number
  /** Bytes at most, keys, values, metadata and their records together. */
  readonly maxBytes: number
}

export const keyspaceLimitsDefault: KeyspaceLimits = { maxEntries: 50_000, maxBytes: 512 * 1024 * 1024 }

export interface KeyspacesService {
  /** The keyspace of everybody who is no tenant. */
  readonly main: Keyspace
  /** The main one, then the others in the order in which they were opened. */
  readonly all: () => Iterable<Keyspace>
  /**
   * Another one, whose bytes count towards what all of the others may hold together. `head` is what its keys are
   * displayed with and no other keyspace's are, its colon included; without one it is not shared with other instances.
   */
  readonly open: (limits: KeyspaceLimits, head?: string) => Keyspace
  /** Empties one that `open` gave, refuses its writes from now on, and forgets it. O(entries). */
  readonly close: (keyspace: Keyspace) => void
  /** Does what is due at `nowMs`, by turns, until `isOver` says so; true when nothing is left to do. */
  readonly advance: (nowMs: number, isOver: () => boolean) => boolean
  /** When `advance` next has something to do, Infinity for never. O(1). */
  readonly nextWakeMs: () => number
  /** Of all but the main one. */
  readonly shared: SharedMemory
}

/** A limit that is none would let a keyspace grow without end, or empty it by every write. */
const checked = ({ maxEntries, maxBytes }: KeyspaceLimits): KeyspaceLimits => {
  for (const [name, limit] of Object.entries({ maxEntries, maxBytes })) {
    if (!(limit >= 1)) throw new RangeError(`${name} is a number from 1; not ${limit}`)
  }
  return { maxEntries, maxBytes }
}

/** Bytes that all tenants' entries may hold together. */
export const tenantBytesMaxDefault = 1024 * 1024 * 1024

const eventLogMax = 100_000 // events; 16 MB of records beside the values that they hold

/**
 * Limits that are no positive numbers are a defect of whoever gives them. `eventLog` is how many events the main
 * keyspace keeps, `tenantBytesMax` what all others may hold together.
 */
export class Keyspaces extends Context.Tag("mimosa-cache/cache/Keyspaces")<Keyspaces, KeyspacesService>() {
  static readonly layer = (
    limits: Partial<KeyspaceLimits> = {},
    eventLog = 0,
    tenantBytesMax = tenantBytesMaxDefault
  ): Layer.Layer<Keyspaces, never, Reactions | Wakeups | CacheClock> =>
    Layer.effect(
      Keyspaces,
      Effect.gen(function* () {
        const clock = yield* CacheClock
        const sink = yield* Reactions
        const wakeup = yield* Wakeups
        const onSinkError = yield* repeatedError("a reaction to an event has thrown") // `sinkErrors` counts all
        const agenda = new Agenda()
        const appointments = new Map<Keyspace, Appointment>()
        const others = new Set<Keyspace>()
        const displayed = new Set<Keyspace>() // those with a head
        const { replica, freshness, hashOf, onOpen, onClose } = Option.getOrElse(
          yield* Effect.serviceOption(Replication),
          makeUnshared
        )
        const openWith = (given: KeyspaceLimits, pool: BytePool, head?: string): Keyspace => {
          const wake = (atMs: number): void => {
            if (agenda.wake(appointment, atMs)) wakeup.at(atMs)
          }
          const names = head === undefined ? {} : { freshness, hash: hashOf(head) }
          const shared = replica === null || head === undefined ? {} : { replica }
          const reacting = { sink, gate: sink, onSinkError, ...names, ...shared }
          const keyspace = new Keyspace({ ...checked(given), pool, clock, wake, ...reacting })
          const appointment = new Appointment(keyspace)
          appointments.set(keyspace, appointment)
          if (head !== undefined) {
            displayed.add(keyspace)
            onOpen(keyspace, head)
          }
          return keyspace
        }
        if (!(tenantBytesMax >= 1)) throw new RangeError(`tenantBytesMax is a number from 1; not ${tenantBytesMax}`)
        const main = openWith({ ...keyspaceLimitsDefault, ...limits }, new BytePool(), "")
        const shared = new SharedMemory(tenantBytesMax, () => others)
        if (!(Number.isSafeInteger(eventLog) && eventLog >= 0 && eventLog <= eventLogMax)) {
          throw new RangeError(`eventLog is a whole number from 0 to ${eventLogMax}; not ${eventLog}`)
        }
        if (eventLog > 0) main.log.open(eventLog)
        return {
          main,
          shared,
          all: () => appointments.keys(),
          open: (given, head) => {
            const keyspace = openWith(given, shared.pool, head)
            others.add(keyspace)
            return keyspace
          },
          close: (keyspace) => {
            const appointment = appointments.get(keyspace)
            if (appointment === undefined || !others.delete(keyspace)) return
            if (displayed.delete(keyspace)) onClose(keyspace)
            keyspace.close()
            appointments.delete(keyspace)
            agenda.forget(appointment)
          },
          advance: (nowMs, isOver) => {
            const isDone = agenda.advance(nowMs, isOver)
            shared.relax()
            return isDone
          },
          nextWakeMs: () => agenda.nextWakeMs()
        }
      })
    )
}
