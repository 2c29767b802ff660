/**
 * What nobody in the world knows and the referee does: every change in the order in which it happened, whose record it
 * became, where each value comes from, and who has heard of what.
 *
 * Two orders matter. The order of turns is true time, which no instance can see. The order of stamps (version, then
 * author) is the one that the protocol settles concurrent writes by.
 */
export type ChangeKind = "set" | "delete" | "invalidate" | "touch" | "tag" | "prefix" | "clear"

/** Something that a client did at one instance and that the others must hear of. */
export interface Change {
  readonly turn: number
  readonly atMs: number
  readonly kind: ChangeKind
  readonly space: number
  /** The key, tag or prefix; empty for a clear. */
  readonly name: string
  readonly author: number
  readonly sequence: number
  readonly version: number
  /** What was set, or had its deadline changed. */
  readonly value: string | undefined
}

export interface Stamp {
  readonly version: number
  readonly author: number
}

/** A value is unique: it tells where it comes from. */
export interface ValueFacts {
  readonly value: string
  readonly space: number
  readonly key: string
  /** Written by a client, or read from the database. */
  readonly isLoaded: boolean
  /** When it was written, or read. */
  readonly turn: number
  readonly atMs: number
  readonly tags: readonly string[]
  /** Whose client wrote it; 0 for nobody's. */
  readonly writer: number
  /** The highest that it was ever written under; null while it is nobody's write. */
  stamp: Stamp | null
  /** True time at which its writer wanted it gone; Infinity for never. The highest that it was given. */
  deadlineMs: number
  /** When its writer last let it go. */
  heldUntilMs: number
}

export const isHigher = (a: Stamp, b: Stamp): boolean =>
  a.version > b.version || (a.version === b.version && a.author > b.author)

export class History {
  readonly changes: Change[] = []
  readonly values = new Map<string, ValueFacts>()
  private readonly byKey = new Map<string, Change[]>()
  private readonly wide: Change[] = []
  /** Author → version → the changes that this record stands for. */
  private readonly records = new Map<number, Map<number, Change[]>>()
  private readonly database = new Map<string, number>()

  add(change: Change): void {
    this.changes.push(change)
    if (isWide(change.kind)) this.wide.push(change)
    else listOf(this.byKey, placeOf(change.space, change.name)).push(change)
    const versions = this.records.get(change.author) ?? new Map<number, Change[]>()
    this.records.set(change.author, versions)
    listOf(versions, change.version).push(change)
    if (change.value === undefined) return
    const facts = this.values.get(change.value)
    if (facts !== undefined && (facts.stamp === null || isHigher(change, facts.stamp))) {
      facts.stamp = { version: change.version, author: change.author }
    }
  }

  /** What a record says; nothing where its author never wrote it. */
  of(author: number, version: number): readonly Change[] {
    return this.records.get(author)?.get(version) ?? []
  }

  ofKey(space: number, key: string): readonly Change[] {
    return this.byKey.get(placeOf(space, key)) ?? []
  }

  facts(value: string): ValueFacts {
    const facts = this.values.get(value)
    if (facts === undefined) throw new Error(`nobody ever wrote or loaded '${value}'`)
    return facts
  }

  /** The first change, of those that `counts` lets count, that a reader of this value has missed. */
  missedBy(facts: ValueFacts, counts: (change: Change) => boolean): Change | undefined {
    for (const change of this.ofKey(facts.space, facts.key)) {
      if (isOlderThan(facts, change) && counts(change)) return change
    }
    for (const change of this.wide) {
      if (touches(change, facts) && isOlderThan(facts, change) && counts(change)) return change
    }
    return undefined
  }

  /** Some wide change of this value's key, tags or prefixes that `counts` lets count. */
  wideOf(facts: ValueFacts, counts: (change: Change) => boolean): Change | undefined {
    return this.wide.find((change) => touches(change, facts) && counts(change))
  }

  /** The origin behind the caches: its version of a key goes up with each update. */
  updateDatabase(space: number, key: string): number {
    const version = this.databaseVersion(space, key) + 1
    this.database.set(placeOf(space, key), version)
    return version
  }

  databaseVersion(space: number, key: string): number {
    return this.database.get(placeOf(space, key)) ?? 0
  }
}

export const isWide = (kind: ChangeKind): boolean => kind === "tag" || kind === "prefix" || kind === "clear"

/** Whether a wide change is about this value. */
export const touches = (change: Change, facts: ValueFacts): boolean => {
  if (change.space !== facts.space) return false
  if (change.kind === "tag") return facts.tags.includes(change.name)
  return change.kind === "clear" || facts.key.startsWith(change.name)
}

/**
 * Whether a value must not be readable where this change, which is about it, was heard. What was loaded loses against
 * every change that came after it was read. What was written loses against higher writes of its key, and against wide
 * changes that came after it.
 */
const isOlderThan = (facts: ValueFacts, change: Change): boolean => {
  if (change.value === facts.value) return false
  if (isWide(change.kind) || facts.stamp === null) return facts.turn < change.turn
  return isHigher(change, facts.stamp)
}

const placeOf = (space: number, key: string): string => `${space} ${key}`

const listOf = <Key>(lists: Map<Key, Change[]>, key: Key): Change[] => {
  const list = lists.get(key) ?? []
  lists.set(key, list)
  return list
}
