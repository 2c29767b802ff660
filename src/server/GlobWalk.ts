/**
 * A walk over the keys that a glob matches: what KEYS and SCAN do.
 *
 * A glob is up to whoever sends it, and so are the keys: it is compiled, so that no pair of them costs more than the
 * length of the key for each 32 bytes of the glob, what it takes is counted in steps, and a key so long that it alone
 * would hold the thread is not tried. Whose keys it walks over is said by the glob: an operator's glob whose literal
 * head names a tenant finds that tenant's keys, as they are displayed; any other finds the operators' own.
 */
import type { Tenant } from "../cache/Tenants.ts"
import { CompiledGlob, type Entry, type Keyspace } from "../kernel/index.ts"
import type { Client } from "./Client.ts"
import { RespError } from "./RespError.ts"
import { walkedTenant } from "./TenantRoutes.ts"

export class GlobWalk {
  /** As they are shown. */
  readonly found: string[] = []
  /** What these take in a reply, rounded up. */
  bytes = 0
  /** What the glob took so far, as `CompiledGlob` counts it. */
  steps = 0
  readonly keyspace: Keyspace
  /** The glob for the keys as they are in there. */
  readonly pattern: string
  private readonly tenant: Tenant | undefined
  /** Absent where all keys match. */
  private readonly glob: CompiledGlob | undefined
  /** Bytes of a key that the glob was not tried on; 0 while there is none. */
  private tooLong = 0

  /** `pattern` is no longer than the settings allow. */
  constructor(client: Client, pattern: string) {
    const walked = walkedTenant(client, pattern)
    this.tenant = walked?.tenant
    this.keyspace = walked?.tenant.keyspace ?? client.keyspace
    this.pattern = walked?.pattern ?? pattern
    this.glob = this.pattern === "*" ? undefined : new CompiledGlob(this.pattern)
  }

  /** Walks over `places` places from `cursor` on, with keys or without; returns the next cursor, 0 at the end. */
  advance(cursor: number, places: number): number {
    return this.keyspace.scan(cursor, places, this.visit)
  }

  add(key: string): void {
    this.found.push(this.tenant === undefined ? key : this.tenant.displayed(key))
    this.bytes += key.length + bulkBytes
  }

  /** Why it cannot go on, if so. */
  get refusal(): string | undefined {
    return this.tooLong === 0 ? undefined : RespError.globTooSlow(this.tooLong)
  }

  /** Places that may be passed between two looks at the clock. */
  get placesPerLook(): number {
    return this.glob === undefined ? 64 : 1 // one key may take the glob as long as a turn
  }

  private readonly visit = ({ key }: Entry): void => {
    const { glob } = this
    if (glob !== undefined) {
      if (glob.stepsMax(key.length) > stepsMax) {
        this.tooLong = key.length
        return
      }
      const isMatch = glob.matches(key)
      this.steps += glob.steps
      if (!isMatch) return
    }
    this.add(key)
  }
}

/** Steps of a glob that take as long as looking at a key: so many make a unit of `Turns.spend`. */
export const stepsPerWork = 32

const stepsMax = 20_000_000 // steps of a glob on one key, some 30 ms at worst: 32 elements on a key of 8 MB
const bulkBytes = 16 // what a key costs in a reply beside its name, rounded up
