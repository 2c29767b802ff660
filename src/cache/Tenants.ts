/**
 * The tenants: who they are, what they may use, and whose a displayed key is.
 *
 * Each has a keyspace of its own, with its own limits and recency order. Rooms above keep what is theirs of a tenant
 * (its triggers, its scripts) and are told when one comes, changes and goes. A change holds as soon as it is made; the
 * effect ends when it would survive a crash as well.
 */
import { Context, Effect, Layer } from "effect"
import { Process, type Supervisor } from "../actor/index.ts"
import type { Value } from "../kernel/index.ts"
import type { FileCorrupt } from "../storage/index.ts"
import { repeatedError } from "../telemetry/index.ts"
import { CacheClock } from "./CacheClock.ts"
import type { InvalidTenant, PrefixTaken, TenantNotFound, TenantsNotSaved } from "./CacheError.ts"
import { Keyspaces } from "./Keyspaces.ts"
import { Tenant, type TenantLimits } from "./Tenant.ts"
import {
  type AdoptedTenant,
  type CreationError,
  type NewTenant,
  type TenantListener,
  TenantRegistry
} from "./TenantRegistry.ts"
import { corruptTenant, TenantStore } from "./TenantStore.ts"

export { Tenant, type TenantLimits } from "./Tenant.ts"
export type { AdoptedTenant, NewTenant, TenantListener } from "./TenantRegistry.ts"

export interface TenantsService {
  /**
   * Makes a tenant that survives restarts, or keeps one that `open` has made with this id and prefix. Looks through the
   * keys of the main keyspace once, in portions with a turn of the event loop between them.
   *
   * @example
   * const tenant = yield* tenants.create({ id: "tenant_123", limits: { maxEntries: 1_000 } })
   * yield* cache.of(tenant).set("greeting", "hello")
   */
  readonly create: (input: NewTenant) => Effect.Effect<Tenant, CreationError | TenantsNotSaved>
  /**
   * Has the tenant of this id be as another instance's is: made as `create` does where there is none, else changed at
   * once. Fails with `TenantExists` where it has another prefix.
   */
  readonly adopt: (tenant: AdoptedTenant) => Effect.Effect<Tenant, CreationError | TenantsNotSaved>
  /**
   * The tenant with this prefix, made with default limits and not saved where there is none: the library's door. O(1)
   * for a tenant that is there; a new one looks through the keys of the main keyspace, 1 ms for 50,000.
   */
  readonly open: (prefix: string) => Tenant | CreationError
  readonly get: (id: string) => Tenant | undefined
  /** Those that were saved in the order in which they were made, then the others as they came. */
  readonly list: () => Tenant[]
  readonly size: number
  /** Those left out stay. Where more is held than lowered limits allow, it is evicted soon, in bounded turns. */
  readonly setLimits: (
    id: string,
    limits: Partial<TenantLimits>
  ) => Effect.Effect<Tenant, InvalidTenant | TenantNotFound | TenantsNotSaved>
  /** Gives its scripts a frozen global, or takes it away where the value is undefined. */
  readonly setEnv: (
    id: string,
    name: string,
    value: Value | undefined
  ) => Effect.Effect<Tenant, InvalidTenant | TenantNotFound | TenantsNotSaved>
  /** Removes it with its keys. False where there is none. */
  readonly remove: (id: string) => Effect.Effect<boolean, TenantsNotSaved>
  /** A new token for its doors, `mt_<id>_<43 characters>`; the one before is void. Only a hash of it is kept. */
  readonly issueToken: (id: string) => Effect.Effect<string, TenantNotFound | TenantsNotSaved>
  /** Makes its token void. False where it has none. */
  readonly revokeToken: (id: string) => Effect.Effect<boolean, TenantNotFound | TenantsNotSaved>
  readonly byToken: (token: string) => Tenant | undefined
  /** The tenant to whom a displayed key belongs. O(colons in the key). Ask `size` first. */
  readonly route: (displayedKey: string) => Tenant | undefined
  /** Tells the listener of all that are there, and from then on of all that happens. The returned function ends it. */
  readonly watch: (listener: TenantListener) => () => void
  /** The process that saves them, where there is one. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

/** How many tenants there may be. */
export const tenantsMaxDefault = 10_000

export interface TenantsSettings {
  /** Tenants at most; those that were saved come back in any case. */
  readonly tenantsMax?: number
}

export class Tenants extends Context.Tag("mimosa-cache/cache/Tenants")<Tenants, TenantsService>() {
  /** Brings back the tenants that were saved. Fails where what was saved is against the rules. */
  static readonly layer = ({
    tenantsMax = tenantsMaxDefault
  }: TenantsSettings = {}): Layer.Layer<Tenants, FileCorrupt, Keyspaces | CacheClock | TenantStore> =>
    Layer.effect(
      Tenants,
      Effect.gen(function* () {
        const store = yield* TenantStore
        const onListenerError = yield* repeatedError("who watches the tenants has thrown")
        const registry = new TenantRegistry(yield* Keyspaces, yield* CacheClock, tenantsMax, onListenerError)
        for (const { record, path } of store.saved) {
          const restored = registry.restore(record)
          if (!(restored instanceof Tenant)) yield* corruptTenant(path, restored.message)
        }
        /** What the registry answered, once it is saved; or its refusal. */
        const saved = <Refused>(answer: Tenant | Refused): Effect.Effect<Tenant, Refused | TenantsNotSaved> => {
          if (!(answer instanceof Tenant)) return Effect.fail(answer)
          return answer.isSaved ? Effect.as(store.save(answer.id, registry), answer) : Effect.succeed(answer)
        }
        /** Of one that there is nothing has to be looked for. */
        const noKeyIsInTheWay = ({ id, prefix = id }: NewTenant): Effect.Effect<void, PrefixTaken> =>
          Effect.gen(function* () {
            for (let cursor = 0; registry.get(id) === undefined; ) {
              const next = registry.keyInTheWay(prefix, cursor, scannedMax)
              if (typeof next === "object") return yield* next
              if (next === 0) return
              cursor = next
              yield* Process.nextTurn
            }
          })
        return Tenants.of({
          create: Effect.fn("Tenants.create")((input: NewTenant) =>
            Effect.gen(function* () {
              const refused = registry.refusal(input)
              if (refused !== undefined) return yield* refused
              yield* noKeyIsInTheWay(input)
              return yield* saved(registry.create(input))
            })
          ),
          adopt: Effect.fn("Tenants.adopt")((tenant: AdoptedTenant) =>
            Effect.gen(function* () {
              yield* noKeyIsInTheWay(tenant)
              return yield* saved(registry.adopt(tenant))
            })
          ),
          open: (prefix) => registry.open(prefix),
          get: (id) => registry.get(id),
          list: () => registry.list(),
          get size() {
            return registry.size
          },
          setLimits: Effect.fn("Tenants.setLimits")((id: string, limits: Partial<TenantLimits>) =>
            Effect.suspend(() => saved(registry.setLimits(id, limits)))
          ),
          setEnv: Effect.fn("Tenants.setEnv")((id: string, name: string, value: Value | undefined) =>
            Effect.suspend(() => saved(registry.setEnv(id, name, value)))
          ),
          remove: Effect.fn("Tenants.remove")((id: string) =>
            Effect.suspend(() => {
              const removed = registry.remove(id)
              if (removed === undefined) return Effect.succeed(false)
              return removed.isSaved ? Effect.as(store.save(id, registry), true) : Effect.succeed(true)
            })
          ),
          issueToken: Effect.fn("Tenants.issueToken")((id: string) =>
            Effect.suspend((): Effect.Effect<string, TenantNotFound | TenantsNotSaved> => {
              const issued = registry.issueToken(id)
              if (!("token" in issued)) return Effect.fail(issued)
              return Effect.as(saved<never>(issued.tenant), issued.token)
            })
          ),
          revokeToken: Effect.fn("Tenants.revokeToken")((id: string) =>
            Effect.suspend((): Effect.Effect<boolean, TenantNotFound | TenantsNotSaved> => {
              const revoked = registry.revokeToken(id)
              return revoked === undefined ? Effect.succeed(false) : Effect.as(saved(revoked), true)
            })
          ),
          byToken: (token) => registry.byToken(token),
          route: (displayedKey) => registry.route(displayedKey),
          watch: (listener) => registry.watch(listener),
          children: store.children
        })
      })
    )
}

const scannedMax = 10_000 // keys a turn: 0.2 ms
