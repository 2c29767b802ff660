/**
 * Names for processes: which one is there now, under this key.
 *
 * - `unique`: a key belongs to at most one process. Servers are started under one with `name: Registry.via(registry,
 *   key)` and reached by the same value, across restarts.
 * - `duplicate`: many processes under a key, each with a value; `dispatch` goes through them. PubSub is made of it.
 *
 * An entry is gone in the moment its process ends, before anybody is told of that: the table is no process of its own,
 * as Elixir's is, but plain synchronous code that the ending process calls. So no lookup ever finds the dead.
 *
 * Keys are strings. Lookup and registration are O(1), removal is O(entries of the process), by prefix O(keys).
 *
 * [1] Elixir, lib/elixir/lib/registry.ex.
 */
import * as Effect from "effect/Effect"
import { AlreadyRegistered, RegistryFull } from "./ActorError.ts"
import type * as internal from "./internal/process.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"

export interface Options {
  readonly keys: "unique" | "duplicate"
  /** Entries in all. Default 1,000,000. */
  readonly limit?: number
}

export interface Entry<V> {
  readonly pid: Pid<unknown>
  readonly value: V
}

/** A process by its name, wherever a pid could stand. `P` is what is known of it, e.g. a `GenServer.ServerRef`. */
export interface Via<out P extends Pid = Pid> {
  readonly _tag: "Via"
  readonly registry: Registry<unknown>
  readonly key: string
  readonly _P?: P
}

/**
 * A table of names. Made empty, and as long-lived as who holds it.
 *
 * @example
 * const names = yield* Registry.make({ keys: "unique" })
 * yield* GenServer.start(Counter, 0, { name: Registry.via(names, "clicks") })
 * yield* GenServer.call(Registry.via<CounterRef>(names, "clicks"), new Get())
 */
export interface Registry<V> {
  readonly keys: "unique" | "duplicate"
  readonly limit: number
  /** @internal */
  readonly table: Table<V>
}

export const make = <V = undefined>(options: Options): Effect.Effect<Registry<V>> =>
  Effect.sync(() => unsafeMake<V>(options))

export const unsafeMake = <V = undefined>(options: Options): Registry<V> => {
  const limit = options.limit ?? limitDefault
  return { keys: options.keys, limit, table: new Table<V>(options.keys, limit) }
}

const limitDefault = 1_000_000 // entries; a guard against leaks of keys, far above any tree of processes

/** Names a process of a unique registry and looks nothing up. Throws for duplicate keys, which are nobody's names. */
export const via = <P extends Pid = Pid>(registry: Registry<unknown>, key: string): Via<P> => {
  if (registry.keys !== "unique") {
    throw new TypeError(`"${key}" is no name: the registry has duplicate keys; take one with unique keys, or dispatch`)
  }
  return { _tag: "Via", registry, key }
}

/**
 * Registers this process. In a duplicate registry one process may have any number of entries, also under the same key.
 * Fails with `AlreadyRegistered` if a unique key belongs to a process (be it this one), `RegistryFull` at the limit.
 */
export const register = <V>(
  registry: Registry<V>,
  key: string,
  ...value: undefined extends V ? [value?: V] : [value: V]
): Effect.Effect<void, AlreadyRegistered | RegistryFull, Process.Self> =>
  Effect.flatMap(Process.self, (pid) => {
    const refusal = unsafeRegister(registry, key, pid, value[0] as V)
    return refusal === null ? Effect.void : Effect.fail(refusal)
  })

/** `register` for synchronous code and for other processes; answers the refusal, or null when it is done. */
export const unsafeRegister = <V>(
  registry: Registry<V>,
  key: string,
  pid: Pid,
  value: V
): AlreadyRegistered | RegistryFull | null => registry.table.add(key, Process.impl(pid), value)

/** Takes back this process' entries under `key`; those of others stay. */
export const unregister = <V>(registry: Registry<V>, key: string): Effect.Effect<void, never, Process.Self> =>
  Effect.map(Process.self, (pid) => registry.table.remove(key, Process.impl(pid)))

/** Takes back this process' entries under `key` whose value passes `isMeant`. */
export const unregisterMatch = <V>(
  registry: Registry<V>,
  key: string,
  isMeant: (value: V) => boolean
): Effect.Effect<void, never, Process.Self> =>
  Effect.map(Process.self, (pid) => registry.table.remove(key, Process.impl(pid), isMeant))

/** The entries under `key`, in the order of registration. */
export const lookup = <V>(registry: Registry<V>, key: string): Effect.Effect<ReadonlyArray<Entry<V>>> =>
  Effect.sync(() => registry.table.entries(key))

/** The process of a unique key (the first of a duplicate one), or null. */
export const whereis = <V>(registry: Registry<V>, key: string): Effect.Effect<Pid<unknown> | null> =>
  Effect.sync(() => unsafeWhereis(registry, key))

export const unsafeWhereis = <V>(registry: Registry<V>, key: string): Pid<unknown> | null =>
  registry.table.first(key)?.pid ?? null

/** The values that `pid` has under `key`. */
export const values = <V>(registry: Registry<V>, key: string, pid: Pid): Effect.Effect<ReadonlyArray<V>> =>
  Effect.sync(() => registry.table.entries(key).flatMap((entry) => (entry.pid === pid ? [entry.value] : [])))

/** Changes this process' value under a unique key. Answers the new one; null if the key is not its own. */
export const updateValue = <V>(
  registry: Registry<V>,
  key: string,
  update: (value: V) => V
): Effect.Effect<V | null, never, Process.Self> =>
  Effect.map(Process.self, (pid) => registry.table.update(key, Process.impl(pid), update))

/** The keys under which `pid` is registered, each as often as it is. */
export const keys = <V>(registry: Registry<V>, pid: Pid): Effect.Effect<ReadonlyArray<string>> =>
  Effect.sync(() => registry.table.keysOf(Process.impl(pid)))

/** The entries under `key` whose value passes `isMeant`. */
export const match = <V>(
  registry: Registry<V>,
  key: string,
  isMeant: (value: V) => boolean
): Effect.Effect<ReadonlyArray<Entry<V>>> =>
  Effect.sync(() => registry.table.entries(key).filter((entry) => isMeant(entry.value)))

/** The entries whose keys begin with `prefix`, with their keys. O(all keys). */
export const matchPrefix = <V>(
  registry: Registry<V>,
  prefix: string
): Effect.Effect<ReadonlyArray<Entry<V> & { readonly key: string }>> =>
  Effect.sync(() => registry.table.withPrefix(prefix))

/** Calls `visit` with the entries under `key`, unless there are none. What it throws or fails with is the caller's. */
export const dispatch = <V, E, R>(
  registry: Registry<V>,
  key: string,
  visit: (entries: ReadonlyArray<Entry<V>>) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    const entries = registry.table.entries(key)
    return entries.length === 0 ? Effect.void : Effect.asVoid(visit(entries))
  })

export interface Counters {
  /** Entries now. */
  readonly entries: number
  readonly limit: number
  /** Registrations that the limit refused, since it was made. */
  readonly refused: number
}

export const counters = <V>({ limit, table }: Registry<V>): Effect.Effect<Counters> =>
  Effect.sync(() => ({ entries: table.size, limit, refused: table.refused }))

/** Entries in all. */
export const count = <V>(registry: Registry<V>): Effect.Effect<number> => Effect.sync(() => registry.table.size)

/** The entries under `key` whose value passes `isMeant`, counted. */
export const countMatch = <V>(
  registry: Registry<V>,
  key: string,
  isMeant: (value: V) => boolean
): Effect.Effect<number> => Effect.map(match(registry, key, isMeant), (entries) => entries.length)

/** Every key that has an entry, once. */
export const allKeys = <V>(registry: Registry<V>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.sync(() => registry.table.allKeys())

/** One registration, which is its own place in the list of its key. */
interface Row<V> {
  readonly key: string
  readonly pid: internal.ProcessImpl
  value: V
  earlier: Row<V> | null
  later: Row<V> | null
}

/**
 * The registrations under one key, in their order. A list, so that a topic whose thousands of subscribers end is
 * cleared one by one in O(1) each.
 */
interface Rows<V> {
  first: Row<V> | null
  last: Row<V> | null
}

const none: ReadonlyArray<never> = []

class Table<V> implements internal.NameTable {
  size = 0
  refused = 0
  readonly #rows = new Map<string, Rows<V>>()
  readonly #rowsOf = new Map<internal.ProcessImpl, Array<Row<V>>>()
  readonly #isUnique: boolean
  readonly #limit: number

  constructor(keys: "unique" | "duplicate", limit: number) {
    this.#isUnique = keys === "unique"
    this.#limit = limit
  }

  add(key: string, pid: internal.ProcessImpl, value: V): AlreadyRegistered | RegistryFull | null {
    const owner = this.#isUnique ? this.first(key) : null
    if (owner !== null) return new AlreadyRegistered({ key, pid: owner.pid })
    if (this.size >= this.#limit) {
      this.refused++
      return new RegistryFull({ key, limit: this.#limit })
    }
    if (!pid.isAlive) return null // as if it had ended right after
    const row = this.#append({ key, pid, value, earlier: null, later: null })
    const mine = this.#rowsOf.get(pid)
    if (mine === undefined) this.#rowsOf.set(pid, [row])
    else mine.push(row)
    pid.tables ??= new Set()
    pid.tables.add(this)
    return null
  }

  remove(key: string, pid: internal.ProcessImpl, isMeant?: (value: V) => boolean): void {
    const mine = this.#rowsOf.get(pid)
    if (mine === undefined) return
    const kept = mine.filter((row) => row.key !== key || (isMeant !== undefined && !isMeant(row.value)))
    if (kept.length === mine.length) return
    const stays = new Set(kept)
    for (const row of mine) if (!stays.has(row)) this.#unlink(row)
    if (kept.length > 0) {
      this.#rowsOf.set(pid, kept)
      return
    }
    this.#rowsOf.delete(pid)
    pid.tables?.delete(this)
  }

  forget(pid: internal.ProcessImpl): void {
    const mine = this.#rowsOf.get(pid)
    if (mine === undefined) return
    this.#rowsOf.delete(pid)
    for (const row of mine) this.#unlink(row)
  }

  first(key: string): Row<V> | null {
    return this.#rows.get(key)?.first ?? null
  }

  entries(key: string): ReadonlyArray<Entry<V>> {
    const first = this.first(key)
    if (first === null) return none
    const found: Array<Entry<V>> = []
    for (let row: Row<V> | null = first; row !== null; row = row.later) found.push({ pid: row.pid, value: row.value })
    return found
  }

  update(key: string, pid: internal.ProcessImpl, update: (value: V) => V): V | null {
    const row = this.first(key)
    if (row === null || row.pid !== pid || !this.#isUnique) return null
    row.value = update(row.value)
    return row.value
  }

  keysOf(pid: internal.ProcessImpl): ReadonlyArray<string> {
    return this.#rowsOf.get(pid)?.map(({ key }) => key) ?? none
  }

  withPrefix(prefix: string): ReadonlyArray<Entry<V> & { readonly key: string }> {
    const found: Array<Entry<V> & { readonly key: string }> = []
    for (const [key, { first }] of this.#rows) {
      if (!key.startsWith(prefix)) continue
      for (let row = first; row !== null; row = row.later) found.push({ key, pid: row.pid, value: row.value })
    }
    return found
  }

  allKeys(): ReadonlyArray<string> {
    return [...this.#rows.keys()]
  }

  #append(row: Row<V>): Row<V> {
    const rows = this.#rows.get(row.key)
    if (rows === undefined) {
      this.#rows.set(row.key, { first: row, last: row })
    } else {
      row.earlier = rows.last
      if (rows.last !== null) rows.last.later = row
      rows.last = row
    }
    this.size++
    return row
  }

  #unlink(row: Row<V>): void {
    const rows = this.#rows.get(row.key) as Rows<V>
    if (row.earlier === null) rows.first = row.later
    else row.earlier.later = row.later
    if (row.later === null) rows.last = row.earlier
    else row.later.earlier = row.earlier
    if (rows.first === null) this.#rows.delete(row.key)
    this.size--
  }
}
