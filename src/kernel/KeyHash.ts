/**
 * Numbers from 1 to 2^53 - 1 in the place of keys, tags and prefixes: what instances tell each other, and what tables of
 * the invalidated hold.
 *
 * Two 32-bit lanes take a character a step, as FNV-1a does [1], each with a multiplier of its own; the second also takes
 * the high bits of the first, whose low bits hear of nothing but low bits. A last mixing, murmur3's [2], makes 53 bits
 * of both. Multipliers and starts come from a secret, so that who chooses keys cannot choose two with one hash; where two
 * have one all the same, the worst that follows is a miss. It is no signature.
 *
 * What is hashed is the displayed form (`tenant_123:user_count`): one table serves all keyspaces, and who may use
 * everybody's keyspace can name a tenant's keys by the prefix that people see. A tag is told from the head by a character
 * that no latin1 string has: no tenant reaches what everybody's keys are tagged with.
 *
 * Hashes of tags and prefixes say in their upper 11 bits whose they are, so that a full table forgets those of whoever
 * filled it (law 14). A tag is its keyspace's. A prefix has to have one hash whether a tenant or everybody's keyspace
 * names it, and nothing in its text says where a tenant's prefix ends: its owner is its first segment, as displayed, up to
 * and with the colon. So tenants whose prefixes agree there (`a:b`, `a:c`) are one owner of prefixes, though two of tags;
 * and any two are one by chance, once in 2,048. The other 42 bits tell apart what one owner names. Hashes of keys have
 * none of this: all of their 53 bits, the lowest of which are buckets.
 *
 * Cost: 2 to 3 ns a character.
 * [1] http://www.isthe.com/chongo/tech/comp/fnv/ [2] Appleby, MurmurHash3.cpp, fmix32.
 */
export class KeyHash {
  /** Names the keyspace as a whole. */
  readonly ofAll: number
  private readonly factorA: number
  private readonly factorB: number
  /** The lanes after the head. */
  private readonly headA: number
  private readonly headB: number
  /** The lanes after the head and the mark of a tag. */
  private readonly tagA: number
  private readonly tagB: number
  private readonly tagOwner: number
  /** Of all prefixes, where the head has a colon: `noOwner` where it has none. */
  private readonly prefixOwner: number
  private readonly headPrefixes: readonly number[]

  constructor(
    secret: string,
    /** What stands before the keys of this keyspace where they are displayed, its colon included; latin1. */
    readonly head = ""
  ) {
    let [a, b] = [0x811c9dc5 | 0, 0x6a09e667 | 0] // FNV's offset, and the fraction of √2
    for (const code of codesOf(secret)) {
      a = Math.imul(a ^ code, 0x01000193) // FNV's prime
      b = Math.imul(b ^ (code ^ (a >>> 16)), 0x9e3779b1) // 2^32 by the golden ratio
    }
    a = mixed(a ^ mixed(b))
    b = mixed(b + a)
    this.factorA = mixed(a + 1) | 1
    this.factorB = mixed(b + 2) | 1
    const headPrefixes: number[] = []
    let owner = noOwner
    for (const code of codesOf(head)) {
      a = Math.imul(a ^ code, this.factorA)
      b = Math.imul(b ^ (code ^ (a >>> 16)), this.factorB)
      if (code !== colon) continue
      if (owner === noOwner) owner = ownerAt(a, b)
      headPrefixes.push(hashOf(a, b, Domain.prefix, owner))
    }
    this.prefixOwner = owner
    this.headPrefixes = headPrefixes
    this.headA = a
    this.headB = b
    this.ofAll = hashOf(a, b, Domain.all, noOwner)
    this.tagOwner = ownerAt(a, b)
    this.tagA = Math.imul(a ^ tagMark, this.factorA)
    this.tagB = Math.imul(b ^ (tagMark ^ (this.tagA >>> 16)), this.factorB)
  }

  /** Of a key of this keyspace. */
  of(key: string): number {
    return this.hash(this.headA, this.headB, key, Domain.key, noOwner)
  }

  /** Tags that are alike in their first 1,024 bytes are one: an invalidation of either then takes more, and never less. */
  ofTag(tag: string): number {
    const told = tag.length > tagBytesMax ? tag.slice(0, tagBytesMax) : tag
    return this.hash(this.tagA, this.tagB, told, Domain.tag, this.tagOwner)
  }

  /** Of all keys that begin so. `prefix` is what this keyspace's own keys begin with, and ends at a `:`. */
  ofPrefix(prefix: string): number {
    return this.hash(this.headA, this.headB, prefix, Domain.prefix, this.ownerOfPrefix(prefix))
  }

  /** Whether keys can be known to begin so: it ends at a `:`, and is one of the prefixes that are looked at. */
  isPrefix(prefix: string): boolean {
    return this.prefixesOf(prefix).at(-1) === this.ofPrefix(prefix)
  }

  /**
   * Of each prefix of the displayed key that ends at a `:`, those within the head included, the shortest first; of those
   * beyond `prefixBytesMax` or `prefixesMax` none, so that a key of nothing but colons costs no more than another.
   */
  prefixesOf(key: string): number[] {
    const { factorA, factorB } = this
    const hashes = this.headPrefixes.slice()
    let owner = this.prefixOwner
    let [a, b] = [this.headA, this.headB]
    const end = key.lastIndexOf(":", prefixBytesMax - this.head.length - 1)
    for (let i = 0; i <= end && hashes.length < prefixesMax; i++) {
      const code = key.charCodeAt(i)
      a = Math.imul(a ^ code, factorA)
      b = Math.imul(b ^ (code ^ (a >>> 16)), factorB)
      if (code !== colon) continue
      if (owner === noOwner) owner = ownerAt(a, b)
      hashes.push(hashOf(a, b, Domain.prefix, owner))
    }
    return hashes
  }

  private ownerOfPrefix(prefix: string): number {
    if (this.prefixOwner !== noOwner) return this.prefixOwner
    return ownerOf(this.hash(this.headA, this.headB, prefix.slice(0, prefix.indexOf(":") + 1), Domain.owner, noOwner))
  }

  private hash(a: number, b: number, text: string, domain: number, owner: number): number {
    const { factorA, factorB } = this
    let [laneA, laneB] = [a, b]
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      laneA = Math.imul(laneA ^ code, factorA)
      laneB = Math.imul(laneB ^ (code ^ (laneA >>> 16)), factorB)
    }
    return hashOf(laneA, laneB, domain, owner)
  }
}

/** Of a displayed key the prefixes that are looked at: so long and so many at most, whatever the key is made of. */
export const prefixBytesMax = 1_024
export const prefixesMax = 64

const tagBytesMax = 1_024

/** Which of `bucketCount` buckets the key with this hash falls into: its lowest bits. A power of two, up to 2^30. */
export const bucketOf = (hash: number, bucketCount: number): number => hash & (bucketCount - 1)

/** Whose the tag or the prefix with this hash is: below `ownerCount`. */
export const ownerOf = (hash: number): number => (hash / 2 ** 42) | 0

export const ownerCount = 2_048 // 11 bits; a full table looks at all of them for the one that has most

/** One text is one thing as a key, another as a prefix, another as a tag, another as an owner of these. */
const Domain = { key: 0x1b873593, tag: 0x2545f491, prefix: 0x3c6ef372, all: 0x510e527f, owner: 0x1f83d9ab } as const

/** Where the upper bits are the hash's own, as those of keys are. */
const noOwner = -1

const colon = 0x3a
const tagMark = 0x100 // no latin1 character

/** Of the text that the lanes have taken; its owner, if any, in the place of the upper 11 bits. */
const hashOf = (a: number, b: number, domain: number, owner: number): number => {
  const low = mixed(a ^ mixed(b ^ domain))
  const high = mixed(b + low)
  const upper = owner === noOwner ? high & 0x1f_ffff : (owner << 10) | (high & 0x3ff)
  return upper * 0x1_0000_0000 + (low >>> 0) || 1 // 0 is left to those who need a hash that is none
}

/** Of what is named by tags or prefixes under the text that the lanes have taken. */
const ownerAt = (a: number, b: number): number => ownerOf(hashOf(a, b, Domain.owner, noOwner))

/** Every bit of the argument changes half of the result's. */
const mixed = (lane: number): number => {
  let bits = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return bits ^ (bits >>> 16)
}

const codesOf = (text: string): number[] => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i))
