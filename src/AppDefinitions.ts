/**
 * Tenants, triggers and scripts as definitions: what is registered on one instance of a namespace is so on all of them.
 *
 * Between the rooms that keep them and the register of coherence. What changes in a room is put into the register; what
 * others have put there is done in the room as a client would have it done, and saved as if. One at a time, in the order
 * in which it came, and always what the register says by then: so what is overtaken is never done.
 *
 * What a room has is compared with what it was last known to have: that tells a client's change from the echo of one
 * that was done here, and from a registration that changes nothing. At the start it is compared with what was saved (a
 * digest of each body, with its version): what has changed meanwhile, by hand or in a crash, is a change of its own.
 *
 * What belongs to a tenant waits until the tenant is there. What cannot be done here (a prefix that is in the way of
 * another, too many triggers, a source that this version does not compile) is counted and logged once for each version,
 * stays in the register for others, and is tried again where time may help. Of tenants only those that are saved are
 * shared: what a program has merely opened by a prefix is its own business.
 */
import { createHash } from "node:crypto"
import { Cause, Effect, FiberSet, Layer, Option } from "effect"
import { Process } from "./actor/index.ts"
import {
  fromJson,
  InvalidJson,
  type Tenant,
  type TenantLimits,
  Tenants,
  type TenantsService,
  tenantLimitRanges,
  toExactJson
} from "./cache/index.ts"
import {
  Coherence,
  type Definition,
  type DefinitionId,
  type DefinitionSource,
  DefinitionStore,
  type DefinitionStoreService,
  type Definitions,
  type SavedDefinition
} from "./coherence/index.ts"
import type { Value } from "./kernel/index.ts"
import { Scripts, type ScriptsService } from "./scripting/index.ts"
import { logAnnotation } from "./telemetry/index.ts"
import { type TriggerInput, Triggers, type TriggersOfKeyspace, type TriggersService } from "./triggers/index.ts"

/** Connects them as long as the scope is open. Without a namespace there is nobody to share with. */
export const layer: Layer.Layer<never, never, Coherence.Coherence | DefinitionStore | Tenants | Triggers | Scripts> =
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const coherence = yield* Coherence.Coherence
      if (coherence === null) return
      const store = yield* DefinitionStore
      const services = { tenants: yield* Tenants, triggers: yield* Triggers, scripts: yield* Scripts }
      const runtime = yield* FiberSet.makeRuntime<never>()
      const link = new Link(coherence.definitions, store, roomsOf(services), services, (effect) => void runtime(effect))
      yield* Effect.acquireRelease(
        Effect.sync(() => link.begin()),
        (stop) => Effect.zipRight(Effect.sync(stop), link.save)
      )
    })
  )

interface Services {
  readonly tenants: TenantsService
  readonly triggers: TriggersService
  readonly scripts: ScriptsService
}

/** Where definitions of one kind are kept and have their effect. */
interface Room {
  /** What it has under this id, as the body of a definition; undefined for nothing. */
  readonly read: (id: DefinitionId) => string | undefined
  /** When that was changed, ms since 1970; 0 where that is not known. */
  readonly changedAtMs: (id: DefinitionId) => number
  /** Has it be so. */
  readonly put: (id: DefinitionId, body: string) => Effect.Effect<unknown, Refusal>
  readonly remove: (id: DefinitionId) => Effect.Effect<unknown, Refusal>
}

interface Refusal {
  readonly _tag: string
  readonly message: string
}

interface Task {
  readonly id: DefinitionId
  /** What is there under this id is another one, which is to go first. */
  readonly isAnother: boolean
  /** The version with which it could not be done before. */
  readonly failedVersion?: number
}

class Link implements DefinitionSource {
  private readonly tasks = new Map<string, Task>()
  private isWorking = false
  private isStopped = false
  /** What is being done now: its first change is none of a client's. */
  private underWay: string | null = null
  /** After that change: a digest of what the room had, null for nothing; undefined before it. */
  private underWayCheck: string | null | undefined
  /** Of what is here: a digest of what its room has, by its owner and its key. */
  private readonly checks = new Map<string, Map<string, string>>()
  /** What could not be done, and may be later; with the version that was. */
  private readonly postponed = new Map<string, Task & { readonly version: number }>()
  private isRetrying = false
  private isSaving = false
  private isUnsaved = false

  constructor(
    private readonly definitions: Definitions,
    private readonly store: DefinitionStoreService,
    private readonly rooms: ReadonlyMap<string, Room>,
    private readonly services: Services,
    private readonly fork: (effect: Effect.Effect<void>) => void
  ) {}

  /** Brings register and rooms together, and keeps them so until the returned function is called. */
  begin(): () => void {
    const { tenants, triggers, scripts } = this.services
    const saved = new Map(this.store.saved.map((each) => [keyOf(each), each]))
    let change = (id: DefinitionId): void => this.restore(id, saved)
    const stops = [
      tenants.watch({
        onOpen: (tenant) => {
          if (this.isShared(tenant)) change(tenantId(tenant))
        },
        onChange: (tenant) => {
          if (!this.isShared(tenant)) return
          const isNew = this.checkFor(tenantId(tenant)) === undefined
          change(tenantId(tenant))
          if (isNew) for (const id of ownedBy(tenant, this.services)) change(id)
        },
        onClose: (tenant) => {
          this.checks.delete(tenant.id)
          if (this.isShared(tenant)) change(tenantId(tenant))
        }
      }),
      triggers.watch((tenant, name) => {
        if (tenant === null) change({ kind: "trigger", owner: "", name })
        else if (this.isShared(tenant)) change({ kind: "trigger", owner: tenant.id, name })
      }),
      scripts.watch((tenant, name) => {
        if (this.isShared(tenant)) change({ kind: "script", owner: tenant.id, name })
      })
    ]
    for (const each of saved.values()) {
      if (each.check === null && this.definitions.get(each) === undefined) {
        this.definitions.restore({ ...each, body: null })
      }
    }
    change = (id) => this.onChange(id)
    stops.push(this.definitions.listen(this))
    return () => {
      this.isStopped = true
      for (const stop of stops) stop()
    }
  }

  private isShared(tenant: Tenant): boolean {
    return tenant.isSaved
  }

  /** At the start: what a room has. */
  private restore(id: DefinitionId, saved: ReadonlyMap<string, SavedDefinition>): void {
    const room = this.roomOf(id)
    const body = room.read(id)
    if (body === undefined) return
    const known = saved.get(keyOf(id))
    const check = checkOf(body)
    this.note(id, body)
    if (known?.check === check) {
      const { version, author, since } = known
      this.definitions.restore({ ...id, version, author, since, body })
      return
    }
    const since = id.owner === "" ? 0 : (this.definitions.get(tenantId({ id: id.owner }))?.since ?? 0)
    const version = Math.max(1, room.changedAtMs(id), (known?.version ?? 0) + 1, since + 1)
    const author = this.definitions.origin
    const isAnew = known !== undefined && known.check === null
    this.definitions.restore({ ...id, version, author, since: isAnew ? version : (known?.since ?? 0), body })
  }

  /** Somebody here has changed something, or has said again what there was. */
  private onChange(id: DefinitionId): void {
    const key = keyOf(id)
    const body = this.roomOf(id).read(id)
    if (key === this.underWay) {
      if (this.underWayCheck === undefined) this.underWayCheck = body === undefined ? null : checkOf(body)
      return
    }
    const isNew = this.checkFor(id) === undefined
    if (!this.note(id, body)) return
    this.publish(id)
    if (id.kind === "tenant" && isNew) this.bringOwned(id.name)
  }

  /** Somebody elsewhere has. */
  onDefinition(definition: Definition, isAnother: boolean): void {
    const key = keyOf(definition)
    const known = this.tasks.get(key) ?? this.postponed.get(key)
    this.postponed.delete(key)
    this.tasks.set(key, { id: idOf(definition), isAnother: isAnother || known?.isAnother === true })
    this.work()
  }

  private publish(id: DefinitionId): void {
    this.postponed.delete(keyOf(id))
    this.definitions.set(id, this.roomOf(id).read(id) ?? null)
  }

  get isBusy(): boolean {
    return this.isWorking
  }

  private work(): void {
    if (this.isWorking || this.isStopped) return
    this.isWorking = true
    const { tasks } = this
    const work = Effect.gen(this, function* () {
      let turnBeganMs = performance.now()
      while (tasks.size > 0 && !this.isStopped) {
        yield* this.next()
        if (performance.now() - turnBeganMs < turnMs) continue
        yield* Process.nextTurn
        turnBeganMs = performance.now()
      }
    })
    this.fork(
      Effect.ensuring(
        work,
        Effect.sync(() => {
          this.isWorking = false
        })
      )
    )
  }

  private next(): Effect.Effect<void> {
    const [key, task] = this.tasks.entries().next().value as [string, Task]
    this.tasks.delete(key)
    const definition = this.definitions.get(task.id)
    const room = this.rooms.get(task.id.kind)
    if (definition === undefined || room === undefined) return Effect.void // void meanwhile; of a newer instance
    const { owner } = task.id
    if (owner !== "" && this.services.tenants.get(owner)?.isSaved !== true) return Effect.void // the tenant will bring it
    this.underWay = key
    this.underWayCheck = undefined
    return Effect.matchCauseEffect(this.done(room, task, definition), {
      onSuccess: () => Effect.sync(() => this.onDone(task, room)),
      onFailure: (cause) => this.onFailed(key, task, definition, cause)
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          this.underWay = null
          // A client may have changed it while it was being saved.
          const { underWayCheck } = this
          if (underWayCheck !== undefined && underWayCheck !== (this.checkFor(task.id) ?? null)) this.publish(task.id)
        })
      )
    )
  }

  private done(room: Room, { id, isAnother }: Task, { body }: Definition): Effect.Effect<unknown, Refusal> {
    const now = room.read(id)
    if ((now ?? null) === body && !isAnother) return Effect.void
    const isToGo = now !== undefined && (body === null || isAnother)
    if (body === null) return isToGo ? room.remove(id) : Effect.void
    const put = Effect.suspend(() => {
      this.underWayCheck = undefined
      return room.put(id, body)
    })
    return isToGo ? Effect.zipRight(room.remove(id), put) : put
  }

  private onDone({ id }: Task, room: Room): void {
    const isNew = this.checkFor(id) === undefined
    this.definitions.stats.applied++
    this.note(id, room.read(id))
    this.saveSoon() // its version is another one, if nothing else
    if (id.kind === "tenant" && isNew) this.bringOwned(id.name)
  }

  /** What others have registered for a tenant may have come before the tenant. */
  private bringOwned(tenant: string): void {
    for (const owned of this.definitions.ownedBy(tenant)) {
      const key = keyOf(owned)
      if (!this.tasks.has(key)) this.tasks.set(key, { id: idOf(owned), isAnother: false })
    }
    if (this.tasks.size > 0) this.work()
  }

  private onFailed(key: string, task: Task, { version }: Definition, cause: Cause.Cause<Refusal>): Effect.Effect<void> {
    const { id } = task
    const failure = Option.getOrUndefined(Cause.failureOption(cause))
    if (failure?._tag.endsWith("NotSaved")) {
      this.onDone(task, this.roomOf(id)) // it is in effect
    } else {
      if (this.postponed.size < postponedMax) this.postponed.set(key, { ...task, version })
      this.retrySoon()
      if (task.failedVersion === version || failure?._tag === "ScriptQuotaExceeded") return Effect.void
      this.definitions.stats.conflicts++
    }
    const reason = failure?.message ?? Cause.pretty(cause)
    return Effect.logWarning(`a ${id.kind} that another instance has registered cannot be so here`).pipe(
      Effect.annotateLogs({
        ...(id.owner === "" ? {} : { [logAnnotation.tenant]: id.owner }),
        [id.kind]: id.name,
        version,
        [logAnnotation.reason]: reason
      })
    )
  }

  private checkFor(id: DefinitionId): string | undefined {
    return this.checks.get(id.owner)?.get(keyOf(id))
  }

  /** Notes what a room has; whether that is something else than before. */
  private note(id: DefinitionId, body: string | undefined): boolean {
    const check = body === undefined ? undefined : checkOf(body)
    if (check === this.checkFor(id)) return false
    this.saveSoon()
    const siblings = this.checks.get(id.owner)
    if (check === undefined) siblings?.delete(keyOf(id))
    else if (siblings === undefined) this.checks.set(id.owner, new Map([[keyOf(id), check]]))
    else siblings.set(keyOf(id), check)
    return true
  }

  /** What is in the way may have gone. */
  private retrySoon(): void {
    if (this.isRetrying) return
    this.isRetrying = true
    this.fork(
      Effect.sync(() => {
        this.isRetrying = false
        for (const [key, { id, isAnother, version }] of this.postponed) {
          this.tasks.set(key, { id, isAnother, failedVersion: version })
        }
        this.postponed.clear()
        this.work()
      }).pipe(Effect.delay(retryAfter))
    )
  }

  private saveSoon(): void {
    this.isUnsaved = true
    if (this.isSaving) return
    this.isSaving = true
    this.fork(
      this.save.pipe(
        Effect.delay(saveAfter),
        Effect.ensuring(
          Effect.sync(() => {
            this.isSaving = false
            if (this.isUnsaved && !this.isStopped) this.saveSoon()
          })
        )
      )
    )
  }

  /** What has not been done here is not saved: others have it, or have something better by the next start. */
  readonly save: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.isUnsaved) return Effect.void
    this.isUnsaved = false
    const saved: SavedDefinition[] = []
    for (const definition of this.definitions.all()) {
      const { kind, owner, name, version, author, since, body } = definition
      const check = this.checkFor(definition) ?? null
      if ((body === null) === (check === null)) saved.push({ kind, owner, name, version, author, since, check })
    }
    return Effect.catchAllCause(this.store.replace(saved), (cause) =>
      Effect.logWarning("the versions of what is registered could not be saved").pipe(
        Effect.annotateLogs({ [logAnnotation.reason]: Cause.pretty(cause) })
      )
    )
  })

  private roomOf({ kind }: DefinitionId): Room {
    return this.rooms.get(kind) as Room
  }
}

const keyOf = ({ kind, owner, name }: DefinitionId): string => `${kind}/${owner}/${name}` // none has a slash

const idOf = ({ kind, owner, name }: DefinitionId): DefinitionId => ({ kind, owner, name })

const tenantId = ({ id }: Pick<Tenant, "id">): DefinitionId => ({ kind: "tenant", owner: "", name: id })

const checkOf = (body: string): string => createHash("sha256").update(body).digest("base64").slice(0, 22)

const turnMs = 5 // of registering, before others have their turn
const saveAfter = "1 second" // for further changes
const retryAfter = "5 seconds"
const postponedMax = 1_000 // what cannot be so here beyond that is not tried again before the next start

const ownedBy = function* (tenant: Tenant, { triggers, scripts }: Services): Iterable<DefinitionId> {
  for (const { name } of triggers.of(tenant).each()) yield { kind: "trigger", owner: tenant.id, name }
  for (const { name } of scripts.list(tenant.id)) yield { kind: "script", owner: tenant.id, name }
}

const roomsOf = ({ tenants, triggers, scripts }: Services): ReadonlyMap<string, Room> =>
  new Map([
    ["tenant", tenantRoom(tenants)],
    ["trigger", triggerRoom(triggers, tenants)],
    ["script", scriptRoom(scripts)]
  ])

/** The body of a tenant. Limits that are younger than the instance that wrote it have their default. */
interface TenantBody {
  readonly prefix: string
  readonly limits: Readonly<Partial<TenantLimits>>
  /** Names, and values as exact JSON. */
  readonly env: ReadonlyArray<readonly [string, string]>
  readonly tokenHash: string | null
  readonly createdAtMs: number
}

const tenantRoom = (tenants: TenantsService): Room => ({
  read: ({ name }) => {
    const tenant = tenants.get(name)
    if (tenant?.isSaved !== true) return undefined
    const { prefix, limits, tokenHash, createdAtMs } = tenant
    const env = Array.from(tenant.env, ([each, value]) => [each, toExactJson(value)] as const)
    return JSON.stringify({ prefix, limits, env, tokenHash, createdAtMs } satisfies TenantBody)
  },
  changedAtMs: ({ name }) => tenants.get(name)?.updatedAtMs ?? 0,
  put: ({ name: id }, body) => {
    const { prefix, limits, env, tokenHash, createdAtMs } = JSON.parse(body) as TenantBody
    const known = Object.entries(limits).filter(([limit]) => Object.hasOwn(tenantLimitRanges, limit)) // by this version
    const values = new Map<string, Value>()
    for (const [name, text] of env) {
      const value = fromJson(text)
      if (value instanceof InvalidJson) return Effect.fail(value)
      values.set(name, value)
    }
    return tenants.adopt({ id, prefix, limits: Object.fromEntries(known), env: values, tokenHash, createdAtMs })
  },
  remove: ({ name }) => tenants.remove(name)
})

const triggerRoom = (triggers: TriggersService, tenants: TenantsService): Room => {
  const of = ({ owner }: DefinitionId): TriggersOfKeyspace => {
    const tenant = owner === "" ? undefined : tenants.get(owner)
    return tenant === undefined ? triggers : triggers.of(tenant)
  }
  return {
    read: (id) => {
      if (id.owner !== "" && tenants.get(id.owner) === undefined) return undefined
      const live = of(id).live(id.name)
      return live === undefined ? undefined : triggerBody(live.definition)
    },
    changedAtMs: (id) => of(id).live(id.name)?.registeredAtMs ?? 0,
    put: (id, body) => {
      const wanted = JSON.parse(body) as TriggerInput
      const now = of(id).live(id.name)?.definition
      const { isEnabled = true } = wanted
      // Nothing but this: it keeps its counts and its version.
      const isSwitch = now !== undefined && triggerBody({ ...now, isEnabled }) === triggerBody({ ...wanted, isEnabled })
      return isSwitch ? of(id).enable(id.name, isEnabled) : of(id).set(wanted)
    },
    remove: (id) => of(id).remove(id.name)
  }
}

/** Its fields in the order of their names, whoever has made it. */
const triggerBody = (definition: TriggerInput): string => JSON.stringify(definition, Object.keys(definition).sort())

const scriptRoom = (scripts: ScriptsService): Room => ({
  read: ({ owner, name }) => scripts.source(owner, name),
  changedAtMs: () => 0,
  put: ({ owner, name }, source) => scripts.set(owner, name, source),
  remove: ({ owner, name }) => scripts.remove(owner, name)
})
