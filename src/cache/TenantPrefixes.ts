/**
 * Whose a displayed key is. A key belongs to the tenant whose prefix and a colon it begins with; so that this is one
 * tenant at most, no prefix with its colon may begin with another: `a` and `a:b` exclude each other, `a` and `ab` do
 * not.
 *
 * A prefix can only end where the key has a colon, so a look-up tries the part before each colon, as far as prefixes
 * may reach. Beside the prefixes stands what they begin with up to each of their own colons: that makes both directions
 * of the rule look-ups, too.
 */
import { prefixLengthMax } from "./Tenant.ts"

export class TenantPrefixes<T> {
  private readonly owners = new Map<string, T>()
  /** What prefixes begin with, up to one of their colons, and how many of them. */
  private readonly heads = new Map<string, number>()

  get(prefix: string): T | undefined {
    return this.owners.get(prefix)
  }

  /** Whose the key is. O(its colons among the first `prefixLengthMax` characters). */
  route(key: string): T | undefined {
    for (let at = key.indexOf(":"); at !== -1 && at <= prefixLengthMax; at = key.indexOf(":", at + 1)) {
      const owner = this.owners.get(key.slice(0, at))
      if (owner !== undefined) return owner
    }
    return undefined
  }

  /** A prefix that excludes this one. O(its colons), and O(prefixes) to name one that is longer. */
  conflict(prefix: string): string | undefined {
    if (this.owners.has(prefix)) return prefix
    for (const head of headsOf(prefix)) if (this.owners.has(head)) return head
    if (!this.heads.has(prefix)) return undefined
    for (const other of this.owners.keys()) if (other.startsWith(`${prefix}:`)) return other
    return undefined
  }

  /** There is no `conflict`. */
  add(prefix: string, owner: T): void {
    this.owners.set(prefix, owner)
    for (const head of headsOf(prefix)) this.heads.set(head, (this.heads.get(head) ?? 0) + 1)
  }

  remove(prefix: string): void {
    if (!this.owners.delete(prefix)) return
    for (const head of headsOf(prefix)) {
      const left = (this.heads.get(head) ?? 0) - 1
      if (left > 0) this.heads.set(head, left)
      else this.heads.delete(head)
    }
  }
}

const headsOf = (prefix: string): string[] => {
  const heads: string[] = []
  for (let at = prefix.indexOf(":"); at !== -1; at = prefix.indexOf(":", at + 1)) heads.push(prefix.slice(0, at))
  return heads
}
