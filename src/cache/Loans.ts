/**
 * What was brought for one step of one caller (a command, a call of a script, an operation of the library), and may not
 * be kept: while copies are not to be used, since what others write may not be heard.
 *
 * Who has waited for keys looks for them in the keyspace afterwards. A value that may be kept is there by then. One that
 * may not is lent: it is put there in the step that it was brought for, and taken out at its end; unless the step has
 * written it, or given it another deadline, which makes it this instance's own. Nobody else finds it, but for a command of
 * so many keys that it takes several turns: others may read what it has lent between these, which is as old as its
 * answer. Triggers hear of it as of any copy: of a fill, and nothing when it goes.
 *
 * Each loan has a lease of its own, from before its key was asked for: what was set, deleted or invalidated before the
 * step came is not lent any more (law 11).
 */
import { entrySize, type Lease } from "../kernel/index.ts"
import type { Fetched, Peers } from "./Peers.ts"

const shareMax = 1 / 4 // of a keyspace's bytes and entries: what is lent pushes out what would have stayed
const loanBytesMax = 64 * 2 ** 20 // bytes of one caller; a reply may have twice as many

interface Loan {
  readonly peers: Peers
  /** Open. */
  readonly lease: Lease
  readonly fetched: Fetched
}

/** Those of one caller, who either uses or drops them, once. */
export class Loans {
  private readonly loans: Loan[] = []
  private bytes = 0

  /** Takes the lease over; false where it and the others would push too much out of their keyspace. */
  add(peers: Peers, lease: Lease, fetched: Fetched): boolean {
    const { maxBytes, maxEntries } = lease.keyspace
    const size = entrySize(lease.key, fetched.value, fetched.meta)
    const bytesMax = Math.min(loanBytesMax, maxBytes * shareMax)
    const isFull = this.bytes + size > bytesMax || this.loans.length >= maxEntries * shareMax
    if (isFull && this.loans.length > 0) return false
    this.bytes += size
    this.loans.push({ peers, lease, fetched })
    return true
  }

  /** Does something while all of it is here: until it returns, or what it promises is done. */
  use<A>(then: () => A): A {
    if (this.loans.length === 0) return then()
    const lent: Array<() => void> = []
    const takeBack = (): void => {
      for (const end of lent.splice(0)) end()
    }
    let isLater = false
    try {
      this.lend(lent)
      const done = then()
      isLater = done instanceof Promise
      return isLater ? ((done as Promise<unknown>).finally(takeBack) as A) : done
    } finally {
      if (!isLater) takeBack()
    }
  }

  /** Nobody uses it any more. */
  drop(): void {
    for (const { lease } of this.loans.splice(0)) lease.keyspace.endLease(lease)
  }

  private lend(lent: Array<() => void>): void {
    try {
      for (const { peers, lease, fetched } of this.loans) {
        // One that is named twice is here by now, and so is one that somebody has written.
        if (lease.keyspace.peek(lease.key) !== undefined) continue
        const takeBack = peers.lend(lease, fetched)
        if (takeBack !== undefined) lent.push(takeBack)
      }
    } finally {
      this.drop() // those that could not be lent
    }
  }
}
