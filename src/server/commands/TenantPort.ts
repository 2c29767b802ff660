/**
 * What the server asks of the tenants' keeper. Whoever builds it gives it to the server; the server never builds one.
 *
 * What returns a promise has to be saved first; it rejects with an error whose message is for the client.
 */
import type { NewTenant, Tenant, TenantLimits, TenantsService } from "../../cache/Tenants.ts"
import type { Value } from "../../kernel/index.ts"

export interface TenantPort extends Pick<TenantsService, "route" | "get" | "list" | "byToken" | "watch"> {
  create(input: NewTenant): Promise<Tenant>
  setLimits(id: string, limits: Partial<TenantLimits>): Promise<Tenant>
  /** Gives the tenant's scripts a value by this name, or takes it away (undefined). */
  setEnv(id: string, name: string, value: Value | undefined): Promise<Tenant>
  /** Resolves to false where there was none. */
  remove(id: string): Promise<boolean>
  /** A new secret by which the tenant logs in; the one before it holds no longer. It is shown this once. */
  issueToken(id: string): Promise<string>
  /** Makes it void. Resolves to false where there was none. */
  revokeToken(id: string): Promise<boolean>
}

/** What finds the tenant of a key that an operator names in its displayed form (`tenant_123:user_count`). */
export interface KeyRoutes {
  /** How many tenants there are: a number that the server counts, since every command looks at it. */
  size: number
  readonly route: TenantsService["route"]
}
