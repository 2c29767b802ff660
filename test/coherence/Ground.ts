/** One instance's entries over a clock that stands still, with an instance of the protocol that only remembers. */

import { Op, RecordFlag } from "../../src/coherence/protocol/Frame.ts"
import { SharedEntries, type SharedEntriesOptions } from "../../src/coherence/SharedEntries.ts"
import { allCauses, causeNames } from "../../src/kernel/Cause.ts"
import type { KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { KeyHash } from "../../src/kernel/KeyHash.ts"
import { Keyspace, type KeyspaceOptions } from "../../src/kernel/Keyspace.ts"
import { type Pattern, parsePattern } from "../../src/kernel/Pattern.ts"

export const hashSecret = "test"

export interface Written {
  readonly op: number
  readonly hash: number
  version: number
  flags: number
}

/** Keeps what was appended, as the own log would. */
export class RecordingInstance {
  lamport = 0
  copyMsMax = Number.POSITIVE_INFINITY
  sealed = 0
  readonly records: Written[] = []

  constructor(readonly origin: number) {}

  append(op: number, hash: number, version: number, flags: number): number {
    return this.records.push({ op, hash, version, flags })
  }

  amend(sequence: number, version: number, flags: number): void {
    if (sequence <= this.sealed || sequence > this.records.length) throw new Error(`${sequence} has left`)
    Object.assign(this.records[sequence - 1] as Written, { version, flags })
  }

  /** What was appended leaves. */
  flush(): void {
    this.sealed = this.records.length
  }
}

export interface Shared {
  readonly keyspace: Keyspace
  readonly events: KeyEvent[]
  /** What was heard so far, as "cause key"; a peer's with " by <peer>". */
  readonly heard: () => string[]
  /** Called for each event from now on. */
  react: (event: KeyEvent) => void
}

const hashOf = (head: string): KeyHash => new KeyHash(hashSecret, head)

export const ground = (
  origin = 1,
  { makeHash = hashOf, ...options }: Partial<SharedEntriesOptions> & { readonly makeHash?: typeof hashOf } = {}
) => {
  const clock = { atMs: 1_000_000, nowMs: () => clock.atMs }
  const entries = new SharedEntries({ hash: makeHash(""), nowMs: clock.nowMs, ...options })
  const instance = new RecordingInstance(origin)
  entries.bind(instance)
  const share = (head = "", limits: Partial<KeyspaceOptions> = {}): Shared => {
    const events: KeyEvent[] = []
    const shared: Shared = {
      keyspace: new Keyspace({
        maxEntries: 1_000,
        maxBytes: 10_000_000,
        clock,
        sink: {
          onEvent: (event) => {
            events.push(event)
            shared.react(event)
          },
          onSettled: () => {}
        },
        wake: () => {},
        replica: entries,
        freshness: entries.freshness,
        hash: makeHash(head),
        ...limits
      }),
      events,
      heard: () =>
        events.map(({ cause, key, origin: by }) => `${causeNames[cause]} ${key}${by?.peer ? ` by ${by.peer}` : ""}`),
      react: () => {}
    }
    shared.keyspace.trie.add({ pattern: parsePattern("*") as Pattern, mask: allCauses, priority: 0 })
    entries.share(shared.keyspace)
    return shared
  }
  /** The records so far in words, each hash by the one of these names whose hash it is. */
  const told = (...names: string[]): string[] => {
    const hashes = new KeyHash(hashSecret)
    const nameOf = ({ op, hash }: Written): string =>
      names.find((name) => [hashes.of(name), hashes.ofTag(name), hashes.ofPrefix(name)].includes(hash)) ??
      (op === Op.clear && hash === hashes.ofAll ? "everything" : "?")
    return instance.records.map((record) => {
      const kind = (record.flags & RecordFlag.gone) !== 0 ? "gone" : opNames[record.op]
      return `${kind} ${nameOf(record)}${(record.flags & RecordFlag.derived) !== 0 ? " derived" : ""}`
    })
  }
  return { entries, instance, clock, share, told, hashOf: (key: string) => makeHash("").of(key) }
}

const opNames: Record<number, string> = { 1: "key", 2: "tag", 3: "prefix", 4: "clear", 5: "define" }
