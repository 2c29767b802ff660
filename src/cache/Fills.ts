/**
 * How a key that is not here comes to be: from a peer, from the tier behind, or from a load; once, however many ask.
 *
 * All who miss a key while it is on its way wait for one flight (single flight per keyspace and key). A flight holds a
 * lease on its key: whoever sets, deletes or invalidates the key meanwhile revokes it. A revoked flight still answers
 * those who wait for it, whose reads began before the change; but it stores nothing, and who asks from then on begins a
 * flight of its own (law 11). So a value that was read from the origin before a change is never what somebody finds
 * after it. Errors are told to all who wait and not kept.
 *
 * A caller that gives up leaves the flight; when the last one has left, the load is aborted. Where nothing could fill a
 * key (no peers, no tier, no loader), a read costs a test of one number.
 *
 * Invariants: somebody waits for each flight that is not over; it is in its table unless something has happened to its
 * key, its tags or its prefixes since it began; its lease is open exactly while it is not over; `flights` and `waiters`
 * are within their limits.
 *
 * Keys here are the kernel's bytes; what a load is told is text.
 */
import { Context, Effect, Layer } from "effect"
import { EntrySource, type Keyspace, type Lease, type Meta, noMeta, type Value } from "../kernel/index.ts"
import { type MetricReader, metric } from "../telemetry/index.ts"
import { CacheClock } from "./CacheClock.ts"
import { type InvalidLoader, InvalidValue, LoadFailed, LoadTimedOut, TooManyLoads } from "./CacheError.ts"
import { type Loader, Loaders } from "./Loaders.ts"
import type { Loans } from "./Loans.ts"
import type { Fetched, Peers } from "./Peers.ts"
import type { Tier } from "./Tier.ts"
import { asText, toBytes, toValue } from "./Values.ts"

export interface FillLimits {
  /** Loads under way at once, of all keyspaces together. */
  readonly flightsMax: number
  /** Callers that wait for them, together. */
  readonly waitersMax: number
  /** ms that peers may take to answer before the tier is asked, and the tier before the loader is. */
  readonly sourceMsMax: number
  /** Loads that warming has under way at once. */
  readonly warmingMax: number
  /** Keys that triggers have asked to warm, and that wait for that. */
  readonly warmQueueMax: number
}

export const fillLimitsDefault: FillLimits = {
  flightsMax: 10_000, // some 2 KB each, with the promises of those who wait
  waitersMax: 100_000, // some 300 bytes each
  sourceMsMax: 1_000, // a cache that takes longer than that is no help
  warmingMax: 16, // enough to keep an origin busy, and too few to overwhelm it
  warmQueueMax: 10_000
}

/** What happened to misses. Counts, from the start on. */
export class FillStats {
  /** Loads that were begun, those that gave a value, and those that failed or took too long. */
  loads = 0
  loaded = 0
  loadFailures = 0
  loadTimeouts = 0
  /** Callers that joined a flight which was under way, and those that left before it was over. */
  joined = 0
  left = 0
  /** Flights that nobody waited for any more. */
  aborted = 0
  /** Values that were answered and not stored: the key was changed meanwhile, or a copy may not be kept now. */
  notStored = 0
  /** Those of them whose lease was revoked. */
  revoked = 0
  /** Misses that a peer, or the tier, has filled; and questions to them that failed or took too long. */
  peerFills = 0
  peerFailures = 0
  tierFills = 0
  tierFailures = 0
  /** Callers that were turned away with `TooManyLoads`. */
  refused = 0
  /** Keys that were warmed, those that have no loader, and those whose load failed. */
  warmed = 0
  warmsWithoutLoader = 0
  warmFailures = 0
  /** Keys that triggers wanted warmed, and for which there was no room. */
  warmsDropped = 0
}

/** Where a key that is not here may come from: other instances alone, or also the tier and loaders, which make values. */
export type FillScope = "peers" | "all"

/** What became of the keys that were to be warmed. Their order is that of the keys. */
export interface WarmReport {
  /** Keys that were loaded and answered to whoever waited, whether or not they could be stored. */
  readonly warmed: number
  /** Those for which the load answered `undefined`: there is no value. */
  readonly empty: number
  /** Keys that no loader is for: they were left as they are. As text. */
  readonly withoutLoader: readonly string[]
  readonly failed: ReadonlyArray<{ readonly key: string; readonly error: unknown }>
}

export interface FillsOptions {
  /** Milliseconds since the epoch: the keyspaces' own clock. */
  readonly nowMs: () => number
  readonly tier?: Tier
  readonly limits?: Partial<FillLimits>
  /** Runs `action` once in `ms`, unless the answer is called before. Default: a timer of Node's. */
  readonly after?: (ms: number, action: () => void) => () => void
}

export class Fills {
  readonly stats = new FillStats()
  readonly limits: FillLimits
  private readonly states = new WeakMap<Keyspace, State>()
  /** Whom the last call was about: mostly the next one is about the same. */
  private lastKeyspace: Keyspace | null = null
  private lastState: State | null = null
  private peers: Peers | null = null
  /** Peers, tier and loaders there are: where it is 0 nothing is ever filled. */
  private sources: number
  private readonly flights = new Set<Flight>()
  private waiting = 0
  private readonly warmQueue: QueuedWarm[] = []
  private warming = 0
  private isClosed = false

  constructor(private readonly options: FillsOptions) {
    this.limits = { ...fillLimitsDefault, ...options.limits }
    this.sources = options.tier === undefined ? 0 : 1
  }

  /** Flights that are under way. */
  get size(): number {
    return this.flights.size
  }

  /** Callers that wait. */
  get waiters(): number {
    return this.waiting
  }

  /** Whether there is anybody who could fill a key; while not, nothing else needs to be asked. */
  get isActive(): boolean {
    return this.sources > 0
  }

  /** Whether the key is not here and may be elsewhere: for those who want to wait before they begin. Fires nothing. */
  isWanted(keyspace: Keyspace, key: string, scope: FillScope = "all"): boolean {
    return this.sources > 0 && keyspace.peek(key) === undefined && this.isFillable(keyspace, key, scope)
  }

  /**
   * Fills a key that is not here; counts as nobody's get. Answers the value also where it could not be stored, undefined
   * where it is nowhere. Rejected with `LoadFailed`, `LoadTimedOut` or `TooManyLoads`, or with the reason of `signal`: its
   * caller waits no longer, and where it was the last one the load is aborted.
   */
  bring(keyspace: Keyspace, key: string, scope: FillScope = "all", signal?: AbortSignal): Promise<Value | undefined> {
    const isAll = scope === "all"
    const loader = isAll ? (this.stateOf(keyspace).loaders.find(key) ?? null) : null
    return this.join(keyspace, key, loader, signal, true, isAll)
  }

  /**
   * `bring` for who looks for the key in the keyspace afterwards, by `Loans.use`: a value that may not be kept now is
   * lent. One that was changed on its way is asked for again, a few times.
   */
  async borrow(
    loans: Loans,
    keyspace: Keyspace,
    key: string,
    scope: FillScope = "all",
    signal?: AbortSignal
  ): Promise<Value | undefined> {
    let value: Value | undefined
    for (let tries = 0; tries < borrowTriesMax; tries++) {
      const lease = keyspace.lease(key)
      let isHandedOver = false
      try {
        const answer = this.bring(keyspace, key, scope, signal)
        const flight = this.stateOf(keyspace).flights.get(key)
        value = await answer
        if (value === undefined || keyspace.peek(key) !== undefined || !flight?.brought) return value
        if (!keyspace.isLeaseCurrent(lease, flight.brought.meta)) continue
        if (this.peers === null) return value // it was too large, or over already
        lease.stamp = flight.lease.stamp
        lease.writer = flight.lease.writer
        isHandedOver = loans.add(this.peers, lease, flight.brought)
        return value
      } finally {
        if (!isHandedOver) keyspace.endLease(lease)
      }
    }
    return value
  }

  /**
   * The same with a load of the caller's own, for a key that neither a peer nor the tier has. A load that is under way
   * for the key already serves this caller too. A loader that `isLocal` asks nobody else.
   */
  load(keyspace: Keyspace, key: string, loader: Loader, signal?: AbortSignal): Promise<Value | undefined> {
    return this.join(keyspace, key, loader, signal, !loader.isLocal, !loader.isLocal)
  }

  /**
   * Has the loader of the pattern fill keys of the keyspace that it matches; the answer takes it back. A load that is
   * under way then goes on.
   */
  register(keyspace: Keyspace, pattern: string, loader: Loader): (() => void) | InvalidLoader {
    const remove = this.stateOf(keyspace).loaders.add(pattern, loader)
    if (typeof remove !== "function") return remove
    this.sources++
    let isThere = true
    return () => {
      if (!isThere) return
      isThere = false
      this.sources--
      remove()
    }
  }

  /** Asks these peers from now on, in the place of whoever was asked; the answer ends that. */
  listen(peers: Peers): () => void {
    if (this.peers === null) this.sources++
    this.peers = peers
    return () => {
      if (this.peers !== peers) return
      this.peers = null
      this.sources--
    }
  }

  /**
   * Loads keys anew, each once, by their loaders: those that are here are invalidated first, which peers hear of.
   * A few at a time (`warmingMax`). Never rejects: what failed is in the report.
   */
  async warm(keyspace: Keyspace, keys: Iterable<string>): Promise<WarmReport> {
    let [warmed, empty] = [0, 0]
    const withoutLoader: string[] = []
    const failed: Array<{ readonly key: string; readonly error: unknown }> = []
    const todo = new Set(keys).values()
    const worker = async (): Promise<void> => {
      for (const key of todo) {
        if (!this.prepareWarm(keyspace, key)) {
          withoutLoader.push(asText(key))
          continue
        }
        try {
          if ((await this.reload(keyspace, key)) === undefined) empty++
          else warmed++
        } catch (error) {
          failed.push({ key: asText(key), error })
        }
      }
    }
    await Promise.all(Array.from({ length: this.limits.warmingMax }, worker))
    return { warmed, empty, withoutLoader, failed }
  }

  /**
   * `warm` of one key for those who cannot wait: the key is invalidated at once and loaded when its turn comes. Answers
   * why it will not be. `onFailed` is told of a load that fails.
   */
  warmLater(keyspace: Keyspace, key: string, onFailed: (error: unknown) => void): "no loader" | "no room" | null {
    if (this.warmQueue.length >= this.limits.warmQueueMax) {
      this.stats.warmsDropped++
      return "no room"
    }
    if (!this.prepareWarm(keyspace, key)) return "no loader"
    this.warmQueue.push({ keyspace, key, onFailed })
    this.warmNext()
    return null
  }

  /** Aborts all flights; whoever waits is told so, and so is who asks from now on. */
  close(): void {
    this.isClosed = true
    this.warmQueue.length = 0
    for (const flight of [...this.flights]) {
      const error = closed(flight.key)
      this.fail(flight, error)
      flight.source.abort(error)
    }
  }

  get metrics(): readonly MetricReader[] {
    const { stats } = this
    return [
      {
        ...metric.fills,
        read: () => [
          [{ from: "peer" }, stats.peerFills] as const,
          [{ from: "tier" }, stats.tierFills] as const,
          [{ from: "loader" }, stats.loaded] as const
        ]
      },
      {
        ...metric.fillFailures,
        read: () => [
          [{ at: "peer" }, stats.peerFailures] as const,
          [{ at: "tier" }, stats.tierFailures] as const,
          [{ at: "loader" }, stats.loadFailures + stats.loadTimeouts] as const
        ]
      },
      { ...metric.fillsNotStored, read: () => stats.notStored },
      { ...metric.fillsRefused, read: () => stats.refused },
      { ...metric.fillsRunning, read: () => this.size },
      { ...metric.fillWaiters, read: () => this.waiters },
      {
        ...metric.warms,
        read: () => [
          [{ outcome: "ok" }, stats.warmed] as const,
          [{ outcome: "no_loader" }, stats.warmsWithoutLoader] as const,
          [{ outcome: "failed" }, stats.warmFailures] as const,
          [{ outcome: "dropped" }, stats.warmsDropped] as const
        ]
      }
    ]
  }

  /** Throws where an invariant of the head comment does not hold. O(flights), for tests. */
  checkInvariants(): void {
    let waiting = 0
    for (const flight of this.flights) {
      const { keyspace, key, lease, waiters, isOver } = flight
      if (isOver || waiters === 0) throw new Error(`nobody waits for '${key}'`)
      const inTable = this.stateOf(keyspace).flights.get(key)
      if (inTable !== flight && keyspace.isLeaseCurrent(lease, null))
        throw new Error(`the flight of '${key}' is not in its table`)
      waiting += waiters
    }
    if (waiting !== this.waiting) throw new Error(`${waiting} wait, ${this.waiting} counted`)
    const { flightsMax, waitersMax } = this.limits
    if (this.flights.size > flightsMax || waiting > waitersMax) throw new Error("a limit is exceeded")
  }

  private isFillable(keyspace: Keyspace, key: string, scope: FillScope): boolean {
    if (this.peers?.mayHave(keyspace, key) === true) return true
    if (scope === "peers") return false
    return this.options.tier !== undefined || this.stateOf(keyspace).loaders.find(key) !== undefined
  }

  private stateOf(keyspace: Keyspace): State {
    if (keyspace !== this.lastKeyspace || this.lastState === null) {
      this.lastKeyspace = keyspace
      this.lastState = this.states.get(keyspace) ?? new State()
      this.states.set(keyspace, this.lastState)
    }
    return this.lastState
  }

  /** Waits for the flight of the key, which is begun where there is none that may be joined. */
  private join(
    keyspace: Keyspace,
    key: string,
    loader: Loader | null,
    signal: AbortSignal | undefined,
    asksPeers: boolean,
    asksTier: boolean
  ): Promise<Value | undefined> {
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    if (this.isClosed) return Promise.reject(closed(key))
    const { flights } = this.stateOf(keyspace)
    const found = flights.get(key)
    if (this.waiting >= this.limits.waitersMax) return this.refuse(key, "waiters", this.limits.waitersMax)
    if (found !== undefined && keyspace.isLeaseCurrent(found.lease, found.meta)) {
      this.stats.joined++
      found.asksTier ||= asksTier // whatever it is at, it looks at these again before it is over
      found.loader ??= loader
      return this.waitFor(found, signal)
    }
    if (this.flights.size >= this.limits.flightsMax) return this.refuse(key, "loads", this.limits.flightsMax)
    const flight = new Flight(keyspace, key, keyspace.lease(key), asksTier, loader)
    flights.set(key, flight)
    this.flights.add(flight)
    const answer = this.waitFor(flight, signal)
    void this.run(flight, asksPeers)
    return answer
  }

  private refuse(key: string, of: TooManyLoads["of"], limit: number): Promise<never> {
    this.stats.refused++
    return Promise.reject(new TooManyLoads({ key: asText(key), of, limit }))
  }

  private waitFor(flight: Flight, signal: AbortSignal | undefined): Promise<Value | undefined> {
    flight.waiters++
    this.waiting++
    if (signal === undefined) return flight.answer
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.leave(flight)
        reject(signal.reason)
      }
      signal.addEventListener("abort", leave, { once: true })
      flight.answer.finally(() => signal.removeEventListener("abort", leave)).then(resolve, reject)
    })
  }

  private leave(flight: Flight): void {
    if (flight.isOver) return
    this.stats.left++
    flight.waiters--
    this.waiting--
    if (flight.waiters > 0) return
    this.stats.aborted++
    this.end(flight)
    flight.source.abort(new Error("nobody waits for this load any more"))
  }

  /** One flight from its first question to its end. Never rejects. */
  private async run(flight: Flight, asksPeers: boolean): Promise<void> {
    const { peers } = this
    if (asksPeers && peers?.mayHave(flight.keyspace, flight.key) === true) await this.askPeers(flight, peers)
    const { tier } = this.options
    if (tier !== undefined && flight.asksTier && !flight.isOver) await this.askTier(flight, tier)
    if (flight.isOver) return
    if (flight.loader === null) this.finish(flight, undefined)
    else await this.runLoad(flight, flight.loader)
  }

  private async askPeers(flight: Flight, peers: Peers): Promise<void> {
    const { keyspace, key, lease } = flight
    try {
      const fetched = await this.within(flight, this.limits.sourceMsMax, (signal) =>
        peers.fetch(keyspace, key, lease, signal)
      )
      if (fetched === undefined || flight.isOver) return
      this.stats.peerFills++
      this.store(flight, fetched.value, fetched.expiresAtMs, fetched.meta, EntrySource.copied)
    } catch {
      if (!flight.isOver) this.stats.peerFailures++
    }
  }

  private async askTier(flight: Flight, tier: Tier): Promise<void> {
    const askedAtMs = this.options.nowMs() // what is left of its life has gone on while it travelled
    try {
      const found = await this.within(flight, this.limits.sourceMsMax, (signal) => tier.get(asText(flight.key), signal))
      if (found === undefined || flight.isOver) return
      const value = toValue(found.value)
      if (value instanceof InvalidValue) throw value
      this.stats.tierFills++
      const { ttlMs, tags } = found
      const expiresAtMs = ttlMs === undefined ? 0 : askedAtMs + Math.ceil(ttlMs)
      const meta = tags === undefined ? noMeta : Object.freeze({ ...noMeta, tags: Object.freeze(tags.map(toBytes)) })
      this.store(flight, value, expiresAtMs, meta, EntrySource.loaded)
    } catch {
      if (!flight.isOver) this.stats.tierFailures++
    }
  }

  private async runLoad(flight: Flight, { load, ttlMs, meta, isLocal, timeoutMs }: Loader): Promise<void> {
    const key = asText(flight.key)
    flight.meta = meta
    flight.lease.isLocal = isLocal
    this.stats.loads++
    try {
      const loaded = await this.within(flight, timeoutMs, (signal) => load({ key, signal }))
      if (flight.isOver) return
      const value = loaded === undefined ? undefined : toValue(loaded)
      if (value instanceof InvalidValue) throw value
      if (value !== undefined) this.stats.loaded++
      if (value === undefined) this.finish(flight, undefined)
      else this.store(flight, value, ttlMs === 0 ? 0 : this.options.nowMs() + ttlMs, meta, EntrySource.loaded)
    } catch (cause) {
      if (flight.isOver) return
      if (cause === tooLate) {
        this.stats.loadTimeouts++
        this.fail(flight, new LoadTimedOut({ key, timeoutMs }))
      } else {
        this.stats.loadFailures++
        this.fail(flight, new LoadFailed({ key, cause }))
      }
    }
  }

  /** What is asked for, unless it takes longer than `ms`: then it is aborted, and this rejects with `tooLate`. */
  private async within<A>(flight: Flight, ms: number, ask: (signal: AbortSignal) => A | PromiseLike<A>): Promise<A> {
    const source = new AbortController()
    flight.source = source
    const late = new Promise<never>((_, reject) => {
      flight.stopTimer = this.after(ms, () => {
        reject(tooLate)
        source.abort(tooLate)
      })
    })
    try {
      return await Promise.race([ask(source.signal), late])
    } finally {
      flight.stopTimer()
    }
  }

  /** Keeps the value if nothing has changed since the flight began, and answers it in any case. */
  private store(flight: Flight, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): void {
    const { keyspace, lease } = flight
    const { isRevoked } = lease
    if (source === EntrySource.loaded) [lease.stamp, lease.writer] = [0, 0] // a peer may have been late
    flight.hasLease = false // `fill` ends it
    flight.brought = { value, expiresAtMs, meta }
    if (!keyspace.fill(lease, value, expiresAtMs, meta, source)) {
      this.stats.notStored++
      if (isRevoked) this.stats.revoked++
    }
    this.finish(flight, value)
  }

  private finish(flight: Flight, value: Value | undefined): void {
    this.end(flight)
    flight.resolve(value)
  }

  private fail(flight: Flight, error: unknown): void {
    this.end(flight)
    flight.reject(error)
  }

  private end(flight: Flight): void {
    const { keyspace, key, lease } = flight
    const { flights } = this.stateOf(keyspace)
    flight.isOver = true
    flight.stopTimer()
    if (flight.hasLease) keyspace.endLease(lease)
    if (flights.get(key) === flight) flights.delete(key)
    this.flights.delete(flight)
    this.waiting -= flight.waiters
  }

  /** Makes room for a new value of the key; false where nobody loads it. */
  private prepareWarm(keyspace: Keyspace, key: string): boolean {
    if (this.stateOf(keyspace).loaders.find(key) === undefined) {
      this.stats.warmsWithoutLoader++
      return false
    }
    if (keyspace.peek(key) !== undefined) keyspace.invalidate(key)
    return true
  }

  /** The value of a prepared key: from its loader, unless somebody has filled it since. */
  private async reload(keyspace: Keyspace, key: string): Promise<Value | undefined> {
    const there = keyspace.peek(key)
    if (there !== undefined) return there.value
    try {
      const value = await this.join(
        keyspace,
        key,
        this.stateOf(keyspace).loaders.find(key) ?? null,
        undefined,
        false,
        false
      )
      if (value !== undefined) this.stats.warmed++
      return value
    } catch (error) {
      this.stats.warmFailures++
      throw error
    }
  }

  private warmNext(): void {
    while (this.warming < this.limits.warmingMax) {
      const next = this.warmQueue.shift()
      if (next === undefined) return
      this.warming++
      this.reload(next.keyspace, next.key)
        .catch(next.onFailed)
        .finally(() => {
          this.warming--
          this.warmNext()
        })
    }
  }

  private after(ms: number, action: () => void): () => void {
    return (this.options.after ?? afterByTimer)(ms, action)
  }
}

/** The fills of a program, as a service: one for all keyspaces. They end with its scope. */
export class CacheFills extends Context.Tag("mimosa-cache/cache/CacheFills")<CacheFills, Fills>() {
  static readonly layer = (options: Omit<FillsOptions, "nowMs"> = {}): Layer.Layer<CacheFills, never, CacheClock> =>
    Layer.scoped(
      CacheFills,
      Effect.gen(function* () {
        const clock = yield* CacheClock
        return yield* Effect.acquireRelease(
          Effect.sync(() => new Fills({ ...options, nowMs: () => clock.nowMs() })),
          (fills) => Effect.sync(() => fills.close())
        )
      })
    )
}

/** What one keyspace has. */
class State {
  readonly loaders = new Loaders()
  /** Those that may be joined, by key, as long as nothing has revoked them. */
  readonly flights = new Map<string, Flight>()
}

/** A key on its way. */
class Flight {
  waiters = 0
  isOver = false
  hasLease = true
  /** What the value will have beside it; null while somebody is asked who may know of other tags. */
  meta: Meta | null = null
  /** What it has come back with; null while it has not, and where it is nowhere. */
  brought: Fetched | null = null
  /** Of what is being asked at the moment. */
  source = new AbortController()
  stopTimer: () => void = () => {}
  readonly answer: Promise<Value | undefined>
  resolve!: (value: Value | undefined) => void
  reject!: (error: unknown) => void

  constructor(
    readonly keyspace: Keyspace,
    readonly key: string,
    readonly lease: Lease,
    public asksTier: boolean,
    /** Asked last; null while nobody who waits has one. */
    public loader: Loader | null
  ) {
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.answer.catch(() => {}) // each who waits has a promise of its own that tells
  }
}

interface QueuedWarm {
  readonly keyspace: Keyspace
  readonly key: string
  readonly onFailed: (error: unknown) => void
}

const borrowTriesMax = 3 // one more than a single write can spoil; what is written all the time cannot be had

/** What a signal is aborted with when its time is over. */
const tooLate = new Error("it has taken too long")

const closed = (key: string) => new LoadFailed({ key: asText(key), cause: new Error("the cache is closed") })

const afterByTimer = (ms: number, action: () => void): (() => void) => {
  const timer = setTimeout(action, ms)
  return () => clearTimeout(timer)
}
