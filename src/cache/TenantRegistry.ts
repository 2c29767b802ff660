/**
 * Which tenants there are, by id and by prefix: synchronous, one thread. What is to be saved of it, others save.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"
import type { Clock, Value } from "../kernel/index.ts"
import { InvalidTenant, PrefixTaken, TenantExists, TenantNotFound, TooManyTenants } from "./CacheError.ts"
import type { KeyspacesService } from "./Keyspaces.ts"
import {
  changedEnv,
  changedLimits,
  refusedId,
  refusedPrefix,
  Tenant,
  type TenantLimits,
  tenantLimitsDefault
} from "./Tenant.ts"
import { TenantPrefixes } from "./TenantPrefixes.ts"
import type { TenantRecord, TenantsToSave } from "./TenantStore.ts"
import { asText } from "./Values.ts"

export interface NewTenant {
  /** 1 to 64 of the characters `A-Z a-z 0-9 _ . -`, not beginning with a dot. */
  readonly id: string
  /** What its keys are displayed with; the id, where left out. */
  readonly prefix?: string
  /** Those left out have their defaults. */
  readonly limits?: Partial<TenantLimits>
}

/** Is told of tenants in the turn in which they come and go. It may not throw, nor open or remove tenants. */
export interface TenantListener {
  /** There is this tenant. Also called, within `watch`, for all that are there already. */
  onOpen(tenant: Tenant): void
  /** It is being removed: `isOpen` is false and nobody finds it any more, but its keys are still there. */
  onClose(tenant: Tenant): void
  /** Its limits, its environment, its token or whether it is saved have changed. */
  onChange?(tenant: Tenant): void
}

/** A tenant as another instance has it. */
export type AdoptedTenant = Omit<TenantRecord, "version" | "updatedAtMs">

export type CreationError = InvalidTenant | TenantExists | PrefixTaken | TooManyTenants

export class TenantRegistry implements TenantsToSave {
  private readonly byId = new Map<string, Tenant>()
  private readonly prefixes = new TenantPrefixes<Tenant>()
  private readonly listeners = new Set<TenantListener>()

  /** `onListenerError` is told what a listener has thrown; it must not throw itself. */
  constructor(
    private readonly keyspaces: Pick<KeyspacesService, "main" | "open" | "close">,
    private readonly clock: Clock,
    private readonly tenantsMax: number,
    private readonly onListenerError: (error: unknown) => void
  ) {}

  get size(): number {
    return this.byId.size
  }

  get(id: string): Tenant | undefined {
    return this.byId.get(id)
  }

  list(): Tenant[] {
    return [...this.byId.values()]
  }

  route(displayedKey: string): Tenant | undefined {
    return this.prefixes.route(displayedKey)
  }

  /**
   * Makes a tenant that is to be saved, or makes one to be saved that `open` has made with the same id and prefix: that
   * one keeps its keys, and its limits where none are given.
   */
  create({ id, prefix = id, limits = {} }: NewTenant): Tenant | CreationError {
    const opened = this.byId.get(id)
    if (opened === undefined || opened.isSaved || opened.prefix !== prefix) {
      const made = this.enter(id, prefix, limits)
      if (made instanceof Tenant) {
        made.isSaved = true
        this.opened(made)
      }
      return made
    }
    const given = changedLimits(opened.limits, limits)
    if (given instanceof InvalidTenant) return given
    opened.isSaved = true
    this.limit(opened, given)
    return this.changed(opened)
  }

  /** The tenant with this prefix, or a new one that is not to be saved. */
  open(prefix: string): Tenant | CreationError {
    const known = this.prefixes.get(prefix)
    if (known !== undefined) return known
    const refused = refusedPrefix(prefix) ?? this.keyInTheWay(prefix, 0, Number.MAX_SAFE_INTEGER)
    if (typeof refused === "object") return refused
    const made = this.enter(this.freeId(prefix), prefix, {})
    if (made instanceof Tenant) this.opened(made)
    return made
  }

  /** Brings back a tenant as it was saved. */
  restore(record: TenantRecord): Tenant | CreationError {
    const env = checkedEnv(record)
    if (env instanceof InvalidTenant) return env
    const made = this.enter(record.id, record.prefix, record.limits, record.createdAtMs, Number.POSITIVE_INFINITY)
    if (!(made instanceof Tenant)) return made
    made.env = env
    made.isSaved = true
    made.version = record.version
    made.updatedAtMs = record.updatedAtMs
    made.tokenHash = record.tokenHash
    this.opened(made)
    return made
  }

  /** Has the tenant of this id be as another instance's is, in one change; it is made where there is none. */
  adopt({ id, prefix, limits, env, tokenHash, createdAtMs }: AdoptedTenant): Tenant | CreationError {
    const values = checkedEnv({ env })
    if (values instanceof InvalidTenant) return values
    const known = this.byId.get(id)
    if (known === undefined || known.prefix !== prefix) {
      const made = this.enter(id, prefix, limits, createdAtMs)
      if (!(made instanceof Tenant)) return made
      made.env = values
      made.tokenHash = tokenHash
      made.isSaved = true
      this.opened(made)
      return made
    }
    const changed = changedLimits(known.limits, limits)
    if (changed instanceof InvalidTenant) return changed
    known.env = values
    known.tokenHash = tokenHash
    known.isSaved = true
    this.limit(known, changed)
    return this.changed(known)
  }

  /**
   * Looks for a key of the main keyspace that would be displayed like this prefix' keys, in `count` places from
   * `cursor` on. Returns the next cursor, 0 at the end.
   */
  keyInTheWay(prefix: string, cursor: number, count: number): number | PrefixTaken {
    let inTheWay: string | undefined
    const next = this.keyspaces.main.scan(cursor, count, ({ key }) => {
      if (key.startsWith(prefix) && key.charCodeAt(prefix.length) === colon) inTheWay ??= key
    })
    return inTheWay === undefined ? next : new PrefixTaken({ prefix, by: { key: asText(inTheWay) } })
  }

  setLimits(id: string, changes: Partial<TenantLimits>): Tenant | InvalidTenant | TenantNotFound {
    const tenant = this.byId.get(id)
    if (tenant === undefined) return new TenantNotFound({ tenant: id })
    const limits = changedLimits(tenant.limits, changes)
    if (limits instanceof InvalidTenant) return limits
    this.limit(tenant, limits)
    return this.changed(tenant)
  }

  setEnv(id: string, name: string, value: Value | undefined): Tenant | InvalidTenant | TenantNotFound {
    const tenant = this.byId.get(id)
    if (tenant === undefined) return new TenantNotFound({ tenant: id })
    const env = changedEnv(tenant.env, name, value)
    if (env instanceof InvalidTenant) return env
    tenant.env = env
    return this.changed(tenant)
  }

  /** A new token in the place of the one before. Only its hash is kept. */
  issueToken(id: string): { readonly tenant: Tenant; readonly token: string } | TenantNotFound {
    const tenant = this.byId.get(id)
    if (tenant === undefined) return new TenantNotFound({ tenant: id })
    const token = `${tokenHead}${id}_${randomBytes(tokenSecretBytes).toString("base64url")}`
    tenant.tokenHash = sha256(token).toString("hex")
    return { tenant: this.changed(tenant), token }
  }

  /** Its token opens nothing any more. Undefined where it has none. */
  revokeToken(id: string): Tenant | TenantNotFound | undefined {
    const tenant = this.byId.get(id)
    if (tenant === undefined) return new TenantNotFound({ tenant: id })
    if (tenant.tokenHash === null) return undefined
    tenant.tokenHash = null
    return this.changed(tenant)
  }

  /** Takes as long for a tenant that there is as for one that there is not. */
  byToken(token: string): Tenant | undefined {
    const id = token.length > tokenLengthMax ? undefined : tokenText.exec(token)?.[1]
    if (id === undefined) return undefined
    const tenant = this.byId.get(id)
    const hash = tenant?.tokenHash ?? nobodysHash
    return timingSafeEqual(Buffer.from(hash, "hex"), sha256(token)) ? tenant : undefined
  }

  /** Removes it. Its keys go as one flush, after those who listen have let go of it, so no trigger sees them go. */
  remove(id: string): Tenant | undefined {
    const tenant = this.byId.get(id)
    if (tenant === undefined) return undefined
    this.byId.delete(id)
    this.prefixes.remove(tenant.prefix)
    tenant.isOpen = false
    for (const listener of this.listeners) this.tell(() => listener.onClose(tenant))
    this.keyspaces.close(tenant.keyspace)
    return tenant
  }

  watch(listener: TenantListener): () => void {
    this.listeners.add(listener)
    for (const tenant of this.list()) this.tell(() => listener.onOpen(tenant))
    return () => void this.listeners.delete(listener)
  }

  record(id: string): TenantRecord | undefined {
    const tenant = this.byId.get(id)
    if (!tenant?.isSaved) return undefined
    const { prefix, limits, env, tokenHash, version, createdAtMs, updatedAtMs } = tenant
    return { id, prefix, limits: { ...limits }, env, tokenHash, version, createdAtMs, updatedAtMs }
  }

  /** Why there cannot be such a tenant, as far as that can be said without looking at keys. */
  refusal({ id, prefix = id, limits = {} }: NewTenant, tenantsMax = this.tenantsMax): CreationError | undefined {
    const refused = refusedId(id) ?? refusedPrefix(prefix)
    if (refused !== undefined) return refused
    const allowed = changedLimits(tenantLimitsDefault, limits)
    if (allowed instanceof InvalidTenant) return allowed
    const known = this.byId.get(id)
    if (known !== undefined) {
      const isToBeKept = !known.isSaved && known.prefix === prefix
      return isToBeKept ? undefined : new TenantExists({ tenant: id })
    }
    const conflict = this.prefixes.conflict(prefix)
    if (conflict !== undefined) return new PrefixTaken({ prefix, by: { prefix: conflict } })
    return this.byId.size >= tenantsMax ? new TooManyTenants({ limit: tenantsMax }) : undefined
  }

  private enter(
    id: string,
    prefix: string,
    changes: Partial<TenantLimits>,
    createdAtMs = this.clock.nowMs(),
    tenantsMax = this.tenantsMax
  ): Tenant | CreationError {
    const refused = this.refusal({ id, prefix, limits: changes }, tenantsMax)
    if (refused !== undefined) return refused
    const limits = changedLimits(tenantLimitsDefault, changes) as TenantLimits
    const tenant = new Tenant(id, prefix, this.keyspaces.open(limits, `${prefix}:`), limits, createdAtMs)
    this.byId.set(id, tenant)
    this.prefixes.add(prefix, tenant)
    return tenant
  }

  private opened(tenant: Tenant): void {
    for (const listener of this.listeners) this.tell(() => listener.onOpen(tenant))
  }

  private changed(tenant: Tenant): Tenant {
    tenant.version++
    tenant.updatedAtMs = this.clock.nowMs()
    for (const listener of this.listeners) this.tell(() => listener.onChange?.(tenant))
    return tenant
  }

  private limit(tenant: Tenant, limits: TenantLimits): void {
    tenant.limits = limits
    tenant.keyspace.limit(limits.maxEntries, limits.maxBytes)
  }

  /** An id for who has a prefix only: the prefix itself where it can be one. */
  private freeId(prefix: string): string {
    const id = prefix.replace(/[^A-Za-z0-9_.-]/g, "_").replace(/^\./, "_")
    if (id.length <= idLengthMax && !this.byId.has(id)) return id
    for (let n = 2; ; n++) {
      const numbered = `${id.slice(0, idLengthMax - 8)}-${n}`
      if (!this.byId.has(numbered)) return numbered
    }
  }

  private tell(what: () => void): void {
    try {
      what()
    } catch (error) {
      this.onListenerError(error)
    }
  }
}

/** The environment of a record, if it keeps to the rules. */
const checkedEnv = ({ env: values }: Pick<TenantRecord, "env">): ReadonlyMap<string, Value> | InvalidTenant => {
  let env: ReadonlyMap<string, Value> | InvalidTenant = new Map()
  for (const [name, value] of values) {
    env = changedEnv(env, name, value)
    if (env instanceof InvalidTenant) return env
  }
  return env
}

const colon = 0x3a
const idLengthMax = 64

/** What every token begins with. */
export const tokenHead = "mt_"
const tokenSecretBytes = 32
const tokenText = /^mt_([A-Za-z0-9_.-]{1,64})_[A-Za-z0-9_-]{43}$/
const tokenLengthMax = 128 // characters; more than `tokenText` can match
const nobodysHash = "0".repeat(64)

const sha256 = (text: string): Buffer => createHash("sha256").update(text).digest()
