/**
 * What the requests of each tenant take of the HTTP server: a share of what there is for all (`tenantShare`), so that
 * no token can keep operators and other tenants from their answers.
 *
 * A request counts from when it is known whose it is until its answer has reached the client, or the client has gone.
 * The connection that it came on is taken as long; those that ask for nothing make room for others
 * (HttpConnections.ts).
 */
import type { ServerResponse } from "node:http"
import type { Tenant } from "../cache/Tenants.ts"
import { tenantShare } from "./ServerState.ts"

export class TenantRequests {
  /** Requests that were one too many. */
  refused = 0
  private readonly requestsMax: number
  private readonly waitingBytesMax: number
  /** The answers that are owed. */
  private readonly owed = new Map<Tenant, Set<ServerResponse>>()

  /** The limits for all tenants and operators together: requests at once, and bytes of answers that wait in sockets. */
  constructor(limits: { readonly requestsMax: number; readonly waitingBytesMax: number }) {
    this.requestsMax = Math.max(1, Math.floor(limits.requestsMax / tenantShare))
    this.waitingBytesMax = Math.floor(limits.waitingBytesMax / tenantShare)
  }

  /** Counts a request of the tenant; or says why it is one too many. O(requests of the tenant). */
  admit(tenant: Tenant, response: ServerResponse): string | undefined {
    const owed = this.owed.get(tenant) ?? new Set()
    const why = this.refusal(owed)
    if (why !== undefined) {
      this.refused++
      return why
    }
    this.owed.set(tenant, owed.add(response))
    response.once("close", () => {
      owed.delete(response)
      if (owed.size === 0) this.owed.delete(tenant)
    })
    return undefined
  }

  private refusal(owed: ReadonlySet<ServerResponse>): string | undefined {
    if (owed.size >= this.requestsMax) return `a tenant has at most ${this.requestsMax} requests at once`
    let bytes = 0
    for (const { socket } of owed) bytes += socket?.writableLength ?? 0
    return bytes <= this.waitingBytesMax
      ? undefined
      : "read the answers that wait for this tenant, before it asks for more"
  }
}
