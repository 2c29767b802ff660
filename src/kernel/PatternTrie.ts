/**
 * Which watchers want the events of a key: a radix trie of prefixes, beside it a map of exact keys and a list of globs.
 *
 * A walk costs O(key length) however many watchers of prefixes and keys there are; only globs are tried one by one.
 * The `Answer` is shared by all keys that end at the same place, that is, have the same watchers. Entries keep it and
 * ask again only when it was taken back, as all answers are when a watcher comes or goes. So a key that was seen before
 * costs one comparison, and a key that nobody watches one bit test. (`effect/Trie` is another thing: a persistent map.)
 *
 * Memory: an entry holds one reference to an answer, and what is taken back lets its lists go, so entries that nobody
 * touches keep nothing alive but that one small object among them. The lists of all answers together are bounded by
 * `answerReferencesMax`; where more is asked for all are taken back and made anew as they are needed.
 */
import { type Cause, causeBit, causeNames } from "./Cause.ts"
import type { CompiledGlob } from "./CompiledGlob.ts"
import type { Pattern } from "./Pattern.ts"

/** Somebody who wants the events of some keys. Higher rooms extend it. */
export interface Watcher {
  readonly pattern: Pattern
  /** Causes that it wants, as bits. */
  readonly mask: number
  /** Higher runs first; equal ones in the order of their registration. */
  readonly priority: number
}

/** All watchers of a key, ready to be asked by cause. It never changes; it is current while its generation is the trie's. */
export class Match {
  private readonly byCause: Array<readonly Watcher[] | undefined> = new Array(causeNames.length)

  constructor(
    readonly generation: number,
    /** All causes that some watcher wants: the interest bits. */
    readonly mask: number,
    /** In the order in which they run. */
    private readonly watchers: readonly Watcher[]
  ) {}

  /** Those who want this cause, in the order in which they run. */
  watchersOf(cause: Cause): readonly Watcher[] {
    return this.byCause[cause] ?? this.select(cause)
  }

  private select(cause: Cause): readonly Watcher[] {
    const bit = causeBit(cause)
    const { watchers } = this
    const selected = (this.mask & bit) === 0 ? nobody : watchers.filter(({ mask }) => (mask & bit) !== 0)
    this.byCause[cause] = selected.length === watchers.length ? watchers : selected
    return this.byCause[cause] as readonly Watcher[]
  }
}

const nobody: readonly Watcher[] = []

/** The answer before anybody was asked; its generation is no trie's. */
export const unmatched = new Match(-1, 0, nobody)

/** Where a kept match can be found until it is taken back: from then on it is `unmatched`, for ever. */
export class Answer {
  match = unmatched
  /**
   * The match's own mask, at hand for keys that nobody watches: one word to look at. All causes while there is no match,
   * so that whoever looks goes on and asks.
   */
  mask = allCausesAndMore
}

const allCausesAndMore = -1

/** For those who have not asked yet. Not frozen: an object of another shape would slow every look at an answer. */
export const noAnswer: Answer = new Answer()

/** Globs at most, as each is tried on every new key. */
export const globsMax = 1_000

/** Bytes of all globs at most: however they are made, a new key of 1 KB costs at most 3 million steps (10 ms). */
export const globBytesMax = 64 * 1024

const answerReferencesMax = 1 << 21 // places in the lists of all answers together: 16 MB
const answerReferences = 32 // what an answer costs beside its lists, in places of 8 bytes

export class PatternTrie {
  /** Moves with every change, so that a kept `Match` can be told from a current one. */
  generation = 0
  /** The causes that any watcher of any key wants. */
  mask = 0
  /** What trying globs on keys has taken so far, as `CompiledGlob` counts it. */
  globSteps = 0
  private readonly root = new Node("")
  private readonly exact = new Map<string, Exact>()
  private readonly globs: Watcher[] = []
  private globBytes = 0
  /** Registration order, which breaks ties of priority. */
  private readonly order = new Map<Watcher, number>()
  private registered = 0
  /** How many watchers want each cause. */
  private readonly wanting = new Int32Array(causeNames.length)
  private readonly given: Answer[] = []
  private references = 0
  /** Answers for keys that globs match, by the place where their prefixes end and the globs. */
  private readonly withGlobs = new Map<Place, Map<string, Answer>>()

  get size(): number {
    return this.order.size
  }

  /** How many watchers have a pattern that is neither a key nor a prefix. */
  get globSize(): number {
    return this.globs.length
  }

  /**
   * Why there is no room for a pattern, if so, when that of `previous` goes: only globs are bounded, by `globsMax` and
   * `globBytesMax`.
   */
  refusal({ isGlob, source }: Pattern, previous?: Watcher): string | undefined {
    if (!isGlob) return undefined
    const freed = previous?.pattern.isGlob && this.order.has(previous) ? previous.pattern : undefined
    if (this.globs.length - (freed === undefined ? 0 : 1) >= globsMax) return `there are ${globsMax} globs already`
    const bytes = this.globBytes - (freed === undefined ? 0 : freed.source.length)
    if (bytes + source.length <= globBytesMax) return undefined
    return `all globs together have ${bytes} bytes already, of ${globBytesMax}`
  }

  /** Throws a `RangeError` where there is a `refusal`: whoever registers watchers asks for it first. */
  add(watcher: Watcher): void {
    this.check(watcher)
    const { kind, text, source } = watcher.pattern
    if (kind === "prefix") this.reach(text).hold(watcher)
    else if (kind === "exact") {
      const exact = this.exact.get(text)
      if (exact === undefined) this.exact.set(text, new Exact(watcher))
      else exact.watchers.push(watcher)
    } else {
      this.globs.push(watcher)
      this.globBytes += source.length
    }
    this.order.set(watcher, this.registered++)
    this.changed(watcher.mask, 1)
  }

  /** Puts `next` in the place of `previous`, keeping its turn among equals. Where `add` throws, `previous` stays. */
  replace(previous: Watcher, next: Watcher): void {
    this.check(next, previous)
    const order = this.order.get(previous)
    this.remove(previous)
    this.add(next)
    if (order !== undefined) this.order.set(next, order)
  }

  remove(watcher: Watcher): boolean {
    if (!this.order.delete(watcher)) return false
    const { kind, text, source } = watcher.pattern
    if (kind === "prefix") this.prune(text, watcher)
    else if (kind === "exact") {
      const { watchers } = this.exact.get(text) as Exact
      watchers.splice(watchers.indexOf(watcher), 1)
      if (watchers.length === 0) this.exact.delete(text)
    } else {
      this.globs.splice(this.globs.indexOf(watcher), 1)
      this.globBytes -= source.length
    }
    this.changed(watcher.mask, -1)
    return true
  }

  /** The watchers of `key`. O(key length + globs), and no allocation once the answer is known. */
  match(key: string): Match {
    return this.answer(key).match
  }

  /** The watchers of `key`, to be kept: good until its match is `unmatched`. */
  answer(key: string): Answer {
    const exact = this.exact.size === 0 ? undefined : this.exact.get(key)
    const deepest = this.deepest(key)
    const globs = this.globs.length === 0 ? nobody : this.globsOf(key)
    const place = exact ?? deepest
    let answer = globs.length === 0 ? place.answer : this.withGlobs.get(place)?.get(this.signature(globs))
    if (answer !== undefined && answer.match !== unmatched) return answer
    answer = new Answer()
    answer.match = this.matchOf(deepest, exact?.watchers ?? nobody, globs)
    answer.mask = answer.match.mask
    this.given.push(answer)
    if (globs.length === 0) place.answer = answer
    else {
      const bySignature = this.withGlobs.get(place) ?? new Map<string, Answer>()
      this.withGlobs.set(place, bySignature.set(this.signature(globs), answer))
    }
    return answer
  }

  /** Throws where the tree is not the smallest one that holds its watchers. O(n), for tests. */
  checkInvariants(): void {
    let held = this.globs.length
    const globBytes = this.globs.reduce((bytes, { pattern }) => bytes + pattern.source.length, 0)
    if (globBytes !== this.globBytes) throw new Error(`globs of ${globBytes} bytes held, ${this.globBytes} counted`)
    const visit = (node: Node): void => {
      held += node.watchers.length
      if (node !== this.root && node.watchers.length === 0 && node.children.size < 2) {
        throw new Error(`node '${node.label}' holds nothing and joins nothing`)
      }
      for (const [code, child] of node.children) {
        if (child.parent !== node || child.label.charCodeAt(0) !== code) {
          throw new Error(`node '${child.label}' hangs in a wrong place`)
        }
        visit(child)
      }
    }
    visit(this.root)
    for (const { watchers } of this.exact.values()) {
      held += watchers.length
      if (watchers.length === 0) throw new Error("a key is kept that nobody watches")
    }
    for (const answers of this.withGlobs.values()) {
      for (const { match } of answers.values()) if (match === unmatched) throw new Error("an old answer is kept")
    }
    if (held !== this.order.size) throw new Error(`${held} watchers held, ${this.order.size} registered`)
  }

  /** The last node on the key's way that has watchers, or else the root. */
  private deepest(key: string): Node {
    let node = this.root
    let deepest = node
    for (let at = 0; at < key.length; ) {
      const child = node.children.get(key.charCodeAt(at))
      if (child === undefined) break
      const label = child.label
      if (at + label.length > key.length) break
      let i = 1
      while (i < label.length && key.charCodeAt(at + i) === label.charCodeAt(i)) i++
      if (i < label.length) break
      at += label.length
      node = child
      if (node.watchers.length > 0) deepest = node
    }
    return deepest
  }

  private globsOf(key: string): readonly Watcher[] {
    const found: Watcher[] = []
    for (const watcher of this.globs) {
      const glob = watcher.pattern.glob as CompiledGlob
      if (glob.matches(key)) found.push(watcher)
      this.globSteps += glob.steps
    }
    return found
  }

  private check({ pattern }: Watcher, previous?: Watcher): void {
    const refusal = this.refusal(pattern, previous)
    if (refusal !== undefined) throw new RangeError(refusal)
  }

  private matchOf(deepest: Node, exact: readonly Watcher[], globs: readonly Watcher[]): Match {
    const watchers = [...exact, ...globs]
    for (let node: Node | undefined = deepest; node !== undefined; node = node.parent) {
      for (const watcher of node.watchers) watchers.push(watcher)
    }
    const order = (watcher: Watcher) => this.order.get(watcher) as number
    watchers.sort((a, b) => b.priority - a.priority || order(a) - order(b))
    let mask = 0
    let references = answerReferences
    for (const watcher of watchers) {
      mask |= watcher.mask
      references += 1 + bitCount(watcher.mask)
    }
    if (this.references + references > answerReferencesMax) this.takeBack()
    this.references += references
    return new Match(this.generation, mask, watchers)
  }

  /** Names a set of globs, in the order of the list. */
  private signature(globs: readonly Watcher[]): string {
    return globs.map((each) => this.order.get(each)).join()
  }

  /** One watcher with this mask more or less: whatever was answered before is so no longer. */
  private changed(mask: number, by: 1 | -1): void {
    this.mask = 0
    for (let cause = 0; cause < this.wanting.length; cause++) {
      if ((mask & (1 << cause)) !== 0) this.wanting[cause] = (this.wanting[cause] as number) + by
      if (this.wanting[cause] !== 0) this.mask |= 1 << cause
    }
    this.generation++
    this.takeBack()
  }

  private takeBack(): void {
    for (const answer of this.given) {
      answer.match = unmatched
      answer.mask = allCausesAndMore
    }
    this.given.length = 0
    this.references = 0
    this.withGlobs.clear()
  }

  /** The node of a prefix, made where it is missing; an edge that shares only a part of it is split. */
  private reach(prefix: string): Node {
    let node = this.root
    for (let at = 0; at < prefix.length; ) {
      const code = prefix.charCodeAt(at)
      const child = node.children.get(code)
      if (child === undefined) return node.adopt(new Node(prefix.slice(at)))
      const shared = sharedLength(child.label, prefix, at)
      if (shared < child.label.length) {
        const middle = node.adopt(new Node(child.label.slice(0, shared)))
        child.label = child.label.slice(shared)
        middle.adopt(child)
        node = middle
      } else node = child
      at += shared
    }
    return node
  }

  private prune(prefix: string, watcher: Watcher): void {
    let node = this.reach(prefix)
    node.watchers.splice(node.watchers.indexOf(watcher), 1)
    while (node.parent !== undefined && node.watchers.length === 0 && node.children.size <= 1) {
      const parent: Node = node.parent
      const [only] = node.children.values()
      if (only === undefined) parent.children.delete(node.label.charCodeAt(0))
      else {
        only.label = node.label + only.label
        parent.adopt(only)
      }
      node = parent
    }
  }
}

/** Where keys with the same watchers end: a node, or a key that is watched itself. */
interface Place {
  answer: Answer
}

class Exact implements Place {
  answer = noAnswer
  readonly watchers: Watcher[]

  constructor(first: Watcher) {
    this.watchers = [first]
  }
}

/** Most nodes are leaves with one watcher: nothing is made for children and watchers that are not there. */
class Node implements Place {
  children = noChildren
  watchers = noWatchers
  parent: Node | undefined = undefined
  answer = noAnswer

  constructor(public label: string) {}

  hold(watcher: Watcher): void {
    if (this.watchers === noWatchers) this.watchers = [watcher]
    else this.watchers.push(watcher)
  }

  adopt(child: Node): Node {
    child.parent = this
    if (this.children === noChildren) this.children = new Map()
    this.children.set(child.label.charCodeAt(0), child)
    return child
  }
}

const noChildren = new Map<number, Node>()
const noWatchers: Watcher[] = []

const bitCount = (mask: number): number => {
  let count = 0
  for (let left = mask; left !== 0; left &= left - 1) count++
  return count
}

const sharedLength = (label: string, text: string, at: number): number => {
  let i = 0
  while (i < label.length && at + i < text.length && label.charCodeAt(i) === text.charCodeAt(at + i)) i++
  return i
}
