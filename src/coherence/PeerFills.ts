/** Other instances as a miss sees them: asks the one that wrote the key last, or all of them where nobody is known. */
import type { Fetched, Peers } from "../cache/index.ts"
import { InvalidBytes } from "../cache/index.ts"
import type { Clock, Keyspace, Lease } from "../kernel/index.ts"
import { decodePeerValue } from "./PeerValueCodec.ts"
import type { Instance } from "./protocol/Instance.ts"
import type { SharedEntries } from "./SharedEntries.ts"

export class PeerFills implements Peers {
  /** Values that could not be read. */
  undecodable = 0

  constructor(
    private readonly entries: SharedEntries,
    private readonly instance: Instance,
    private readonly clock: Clock
  ) {}

  mayHave(keyspace: Keyspace, key: string): boolean {
    if (this.instance.memberCount === 0) return false
    const hash = this.entries.hashOf(keyspace, key)
    if (hash === notShared) return false
    const author = this.entries.authorOf(hash)
    // What was written here and is not here any more was evicted: then it is forgotten, as caches do.
    return author === undefined || (!author.isGone && author.author !== this.instance.origin)
  }

  fetch(keyspace: Keyspace, key: string, lease: Lease, signal: AbortSignal): Promise<Fetched | undefined> {
    const { entries, instance, clock } = this
    const displayed = entries.displayed(keyspace, key)
    const hash = entries.hashOf(keyspace, key)
    // A keyspace that is closed has no head any more: its key would be another one of everybody's.
    if (hash === notShared) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      const askedAtMs = clock.nowMs() // a life is counted from here, so that no copy outlives what it is a copy of
      const stop = instance.fetch(displayed, hash, (found) => {
        signal.removeEventListener("abort", giveUp)
        const decoded = found === undefined ? undefined : decodePeerValue(found.payload)
        if (found === undefined || decoded === undefined) return resolve(undefined)
        if (decoded instanceof InvalidBytes) {
          this.undecodable++
          return resolve(undefined)
        }
        lease.stamp = found.version
        lease.writer = found.writer
        resolve({ ...decoded, expiresAtMs: found.ttlMs < 0 ? 0 : askedAtMs + found.ttlMs })
      })
      const giveUp = () => {
        stop()
        resolve(undefined)
      }
      signal.addEventListener("abort", giveUp, { once: true })
    })
  }

  lend(lease: Lease, fetched: Fetched): (() => void) | undefined {
    return this.entries.lend(lease, fetched)
  }
}

const notShared = 0
