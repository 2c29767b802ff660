/**
 * Which watchers want the events of a key: a radix trie of prefixes beside a map of exact keys.
 *
 * A walk costs O(key length) however many watchers there are, and its answer, a `Match`, is shared by all keys that
 * end at the same node: entries keep it and ask again only when `generation` has moved. So a key that was seen before
 * costs one comparison, and a key that nobody watches one bit test. (`effect/Trie` is another thing: a persistent map.)
 */
import { type Cause, causeBit, causeNames } from "./Cause.ts"
import type { Pattern } from "./Pattern.ts"

/** Somebody who wants the events of some keys. Higher rooms extend it. */
export interface Watcher {
  readonly pattern: Pattern
  /** Causes that it wants, as bits. */
  readonly mask: number
  /** Higher runs first; equal ones in the order of their registration. */
  readonly priority: number
}

/** All watchers of one key, ready to be asked by cause. Valid while its generation is the trie's. */
export class Match {
  /** The watchers of each cause, in the order in which they run. */
  readonly byCause: ReadonlyArray<readonly Watcher[]>

  constructor(
    readonly generation: number,
    /** All causes that some watcher wants: the interest bits. */
    readonly mask: number,
    watchers: readonly Watcher[]
  ) {
    this.byCause =
      watchers.length === 0
        ? nobody
        : causeNames.map((_, cause) => watchers.filter((each) => (each.mask & causeBit(cause as Cause)) !== 0))
  }

  watchersOf(cause: Cause): readonly Watcher[] {
    return this.byCause[cause] as readonly Watcher[]
  }
}

const nobody: ReadonlyArray<readonly Watcher[]> = causeNames.map(() => [])

/** The answer before anybody was asked; its generation is no trie's. */
export const unmatched = new Match(-1, 0, [])

export class PatternTrie {
  /** Moves with every change, so that a kept `Match` can be told from a current one. */
  generation = 0
  /** The causes that any watcher of any key wants. */
  mask = 0
  private readonly root = new Node("")
  private readonly exact = new Map<string, Exact>()
  /** Registration order, which breaks ties of priority. */
  private readonly order = new Map<Watcher, number>()
  private registered = 0

  get size(): number {
    return this.order.size
  }

  add(watcher: Watcher): void {
    const { kind, text } = watcher.pattern
    if (kind === "prefix") this.reach(text).watchers.push(watcher)
    else {
      const exact = this.exact.get(text)
      if (exact === undefined) this.exact.set(text, { watchers: [watcher], match: unmatched })
      else exact.watchers.push(watcher)
    }
    this.order.set(watcher, this.registered++)
    this.mask |= watcher.mask
    this.generation++
  }

  /** Puts `next` in the place of `previous`, which has the same pattern, keeping its turn among equals. */
  replace(previous: Watcher, next: Watcher): void {
    const order = this.order.get(previous)
    this.remove(previous)
    this.add(next)
    if (order !== undefined) this.order.set(next, order)
  }

  remove(watcher: Watcher): boolean {
    if (!this.order.delete(watcher)) return false
    const { kind, text } = watcher.pattern
    if (kind === "prefix") this.prune(text, watcher)
    else {
      const exact = this.exact.get(text) as Exact
      exact.watchers.splice(exact.watchers.indexOf(watcher), 1)
      if (exact.watchers.length === 0) this.exact.delete(text)
    }
    this.mask = 0
    for (const each of this.order.keys()) this.mask |= each.mask
    this.generation++
    return true
  }

  /** The watchers of `key`. O(key length), and no allocation once the node's answer is known. */
  match(key: string): Match {
    let node = this.root
    let deepest = node.watchers.length > 0 ? node : undefined
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
    const exact = this.exact.size === 0 ? undefined : this.exact.get(key)
    if (exact !== undefined) {
      if (exact.match.generation !== this.generation) exact.match = this.answer(deepest, exact.watchers)
      return exact.match
    }
    const holder = deepest ?? this.root
    if (holder.match.generation !== this.generation) holder.match = this.answer(deepest, [])
    return holder.match
  }

  /** Throws where the tree is not the smallest one that holds its watchers. O(n), for tests. */
  checkInvariants(): void {
    let held = 0
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
    if (held !== this.order.size) throw new Error(`${held} watchers held, ${this.order.size} registered`)
  }

  private answer(deepest: Node | undefined, exact: readonly Watcher[]): Match {
    const watchers = [...exact]
    for (let node = deepest; node !== undefined; node = node.parent) watchers.push(...node.watchers)
    const order = (watcher: Watcher) => this.order.get(watcher) as number
    watchers.sort((a, b) => b.priority - a.priority || order(a) - order(b))
    return new Match(
      this.generation,
      watchers.reduce((mask, watcher) => mask | watcher.mask, 0),
      watchers
    )
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

interface Exact {
  readonly watchers: Watcher[]
  match: Match
}

class Node {
  readonly children = new Map<number, Node>()
  readonly watchers: Watcher[] = []
  parent: Node | undefined
  match = unmatched

  constructor(public label: string) {}

  adopt(child: Node): Node {
    child.parent = this
    this.children.set(child.label.charCodeAt(0), child)
    return child
  }
}

const sharedLength = (label: string, text: string, at: number): number => {
  let i = 0
  while (i < label.length && at + i < text.length && label.charCodeAt(i) === text.charCodeAt(at + i)) i++
  return i
}
