/**
 * Tenants for programs without Effect: each is a cache of its own, with its own keys, triggers, scripts and limits.
 */
import { Effect } from "effect"
import {
  fromValue,
  type Input,
  InvalidValue,
  type NewTenant,
  type Output,
  type Tenant,
  type TenantLimits,
  Tenants,
  type TenantsService,
  toValue
} from "./cache/index.ts"
import { MimosaKeyspace } from "./MimosaKeyspace.ts"
import type { MimosaProgram } from "./MimosaProgram.ts"
import { MimosaTenantScripts } from "./MimosaScripts.ts"
import { setEnv } from "./scripting/GlobalNames.ts"

/** Who the tenants are. */
export class MimosaTenants {
  constructor(private readonly program: MimosaProgram) {}

  /**
   * Makes a tenant; with a `dataDir` it survives a restart. Rejects with `InvalidTenant`, `TenantExists`, `PrefixTaken` or
   * `TooManyTenants`, and nothing has changed; or with `TenantsNotSaved`, and it is there until the process ends.
   *
   * @example
   * const tenant = await mimosa.tenants.create({ id: "tenant_123", limits: { maxEntries: 1_000 } })
   * await tenant.set("greeting", "hello")
   */
  create(input: NewTenant): Promise<MimosaTenant> {
    return this.ask((tenants) => tenants.create(input))
  }

  /**
   * The tenant with this prefix, made with default limits, and not to be saved, where there is none: what `cachePrefix`
   * does. Rejects with `InvalidTenant`, `PrefixTaken`, `TenantExists` or `TooManyTenants`.
   */
  open(prefix: string): Promise<MimosaTenant> {
    return this.ask((tenants) =>
      Effect.suspend(() => {
        const opened = tenants.open(prefix)
        return "_tag" in opened ? Effect.fail(opened) : Effect.succeed(opened)
      })
    )
  }

  /** The tenant with this id; undefined where there is none. */
  get(id: string): Promise<MimosaTenant | undefined> {
    return this.look((tenants) => tenants.get(id))
  }

  /** The tenant whose token this is; undefined where it is nobody's. */
  byToken(token: string): Promise<MimosaTenant | undefined> {
    return this.look((tenants) => tenants.byToken(token))
  }

  /** Those that were saved in the order in which they were made, then the others as they came. */
  list(): Promise<MimosaTenant[]> {
    return this.program.run(Effect.map(Tenants, (tenants) => tenants.list().map(this.shown)))
  }

  private ask<E>(question: (tenants: TenantsService) => Effect.Effect<Tenant, E>): Promise<MimosaTenant> {
    return this.program.run(Effect.map(Effect.flatMap(Tenants, question), this.shown))
  }

  private look(question: (tenants: TenantsService) => Tenant | undefined): Promise<MimosaTenant | undefined> {
    return this.program.run(
      Effect.map(Tenants, (tenants) => {
        const tenant = question(tenants)
        return tenant === undefined ? undefined : this.shown(tenant)
      })
    )
  }

  private readonly shown = (tenant: Tenant): MimosaTenant => new MimosaTenant(this.program, tenant)
}

/**
 * One tenant: all that `Mimosa` does for entries and triggers, for this tenant's alone, under bare keys and channels, and
 * what follows here. Once it was removed every method rejects with `TenantNotFound`.
 *
 * | member | answers |
 * |---|---|
 * | `id`, `prefix`, `limits`, `env`, `isOpen` | what it is at the moment |
 * | `setLimits(limits)` | when the new ones hold |
 * | `setEnv(name, value)` | when its scripts find a global of this name, or no longer |
 * | `issueToken()` | a token for its doors; the one before is void |
 * | `revokeToken()` | whether there was one; it opens nothing any more |
 * | `remove()` | whether it was still there; its keys, triggers and scripts go with it |
 * | `scripts` | the scripts that it keeps under names |
 */
export class MimosaTenant extends MimosaKeyspace {
  /** The scripts that it keeps under names. */
  readonly scripts: MimosaTenantScripts

  /** Made by `mimosa.tenants`. */
  constructor(
    program: MimosaProgram,
    private readonly tenant: Tenant
  ) {
    super(program, tenant)
    this.scripts = new MimosaTenantScripts(program, tenant)
  }

  get id(): string {
    return this.tenant.id
  }

  /** What its keys are displayed with, before a colon. */
  get prefix(): string {
    return this.tenant.prefix
  }

  /** How much it may use. */
  get limits(): TenantLimits {
    return this.tenant.limits
  }

  /** What its scripts find as frozen globals. */
  get env(): { readonly [name: string]: Output } {
    return Object.fromEntries(Array.from(this.tenant.env, ([name, value]) => [name, fromValue(value)]))
  }

  /** False once it was removed. */
  get isOpen(): boolean {
    return this.tenant.isOpen
  }

  /**
   * Changes some of its limits. Rejects with `InvalidTenant`, and nothing has changed; or with `TenantsNotSaved`, and they
   * hold until the process ends. Where more is held than they allow, it is evicted soon.
   */
  setLimits(limits: Partial<TenantLimits>): Promise<void> {
    return this.change((tenants, id) => tenants.setLimits(id, limits))
  }

  /**
   * Gives its scripts a frozen global, or takes it away where the value is undefined. Rejects with `InvalidValue` for what
   * is no data, and as `setLimits` does.
   */
  setEnv(name: string, value: Input | undefined): Promise<void> {
    const stored = value === undefined ? undefined : toValue(value)
    return this.change((tenants, id) =>
      stored instanceof InvalidValue ? Effect.fail(stored) : setEnv(tenants, id, name, stored)
    )
  }

  /** A new token for its doors, of which only a hash is kept; the one before is void. Rejects with `TenantsNotSaved`. */
  issueToken(): Promise<string> {
    return this.ofOwner(Effect.flatMap(Tenants, (tenants) => tenants.issueToken(this.id)))
  }

  /** Whether there was a token to be made void. */
  revokeToken(): Promise<boolean> {
    return this.ofOwner(Effect.flatMap(Tenants, (tenants) => tenants.revokeToken(this.id)))
  }

  /**
   * Removes it with its keys, triggers and scripts; false when somebody did before. Rejects with `TenantsNotSaved`, and it
   * would come back with a restart.
   */
  remove(): Promise<boolean> {
    return this.program.run(
      Effect.flatMap(Tenants, (tenants) => (this.isOpen ? tenants.remove(this.id) : Effect.succeed(false)))
    )
  }

  private change(how: (tenants: TenantsService, id: string) => Effect.Effect<unknown, unknown>): Promise<void> {
    return this.ofOwner(Effect.asVoid(Effect.flatMap(Tenants, (tenants) => how(tenants, this.id))))
  }
}
