/**
 * What sets off what: which keys a trigger watches, reads and writes, and where triggers go round in circles, found
 * from their sources without running them.
 *
 * Keys are known as far as constants tell: `"page:" .. id` writes `page:*`, `event.key .. ":count"` what the trigger
 * watches with `:count` behind it. Patterns are globs (kernel/Glob.ts), so that they read as those of TRIGGER SET do.
 * Where the source leaves any doubt (`cache` given away, `_ENV`, an unknown function) the answer is "unknown", never a
 * guess: all that a run can touch is covered by the patterns, or the node says that there may be more.
 *
 * An edge is what one operation can set off: a write ON_WRITE, a delete or a warming ON_DELETE. A TTL that ends is an
 * edge that comes later: it begins a cascade of its own, so cycles do not go through it. An eviction is none, for any
 * write may bring any.
 *
 * Cost: O(source) a trigger; edges by the literal heads of the patterns, near O(writes · log triggers) where these
 * differ.
 */
import { type Expression, type ParsedLua, parseLua } from "../sandbox/index.ts"

export interface GraphInput {
  readonly name: string
  readonly pattern: string
  readonly events: readonly string[]
  readonly source: string
}

/** Globs, and whether they are all there is. */
export interface KeySet {
  readonly patterns: readonly string[]
  /** Something else may be touched, which the source does not tell. */
  readonly hasUnknown: boolean
}

export interface TriggerNode {
  readonly name: string
  readonly pattern: string
  readonly events: readonly string[]
  readonly reads: KeySet
  readonly writes: KeySet
  /** Those among the written keys that may have been given a TTL. */
  readonly expires: KeySet
  readonly deletes: KeySet
  readonly warms: KeySet
  /** Channels. */
  readonly emits: KeySet
  /** Hosts, with their port where one is named; or names of endpoints. */
  readonly webhooks: KeySet
}

export interface TriggerEdge {
  readonly from: string
  readonly to: string
  /** What `from` does to keys of this pattern … */
  readonly by: "write" | "delete" | "warm" | "ttl"
  readonly keys: string
  /** … which `to` hears of as this event. */
  readonly event: string
  /** Not in the same cascade, but when the TTL has ended. */
  readonly isLater: boolean
}

/** Plain data, ready for JSON. */
export interface TriggerGraph {
  readonly nodes: readonly TriggerNode[]
  readonly edges: readonly TriggerEdge[]
  /** Names in the order in which they set each other off; the first sets in again after the last. */
  readonly cycles: ReadonlyArray<readonly string[]>
  /** There are more than 100,000 edges: the others, and cycles through them, are left out. */
  readonly isTruncated: boolean
}

/** The graph of all triggers. Each trigger that can set itself off, in however many steps, is in one of `cycles`. */
export const triggerGraph = (triggers: readonly GraphInput[]): TriggerGraph => {
  const graph = new LiveGraph()
  for (const trigger of triggers) graph.put(trigger)
  return graph.show()
}

const edgesMax = 100_000 // some 20 MB of JSON

/** The graph of triggers that come and go: each is analysed once, when it comes. */
export class LiveGraph {
  private readonly watchers = new Watchers()

  /** Adds a trigger, in the place of the one that has its name. */
  put(trigger: GraphInput): void {
    this.remove(trigger.name)
    this.watchers.add(analyseTrigger(trigger))
  }

  remove(name: string): void {
    const node = this.watchers.node(name)
    if (node !== undefined) this.watchers.remove(node)
  }

  show(): TriggerGraph {
    const nodes = [...this.watchers.all()]
    const edges: TriggerEdge[] = []
    const edgesFrom = new Map<string, readonly TriggerEdge[]>()
    for (const node of nodes) {
      const own = this.watchers.edgesFrom(node, edgesMax + 1 - edges.length)
      edgesFrom.set(node.name, own)
      for (const edge of own) edges.push(edge)
    }
    const isTruncated = edges.length > edgesMax
    return { nodes, edges: isTruncated ? edges.slice(0, edgesMax) : edges, cycles: cyclesOf(edgesFrom), isTruncated }
  }

  /** The names on the shortest way from a trigger back to itself, as far as `edgesMax` edges tell. */
  cycleOf(name: string, searchedMax = edgesMax): readonly string[] | undefined {
    const own = this.watchers.node(name)
    if (own !== undefined && setsItselfOff(own)) return [name]
    let left = searchedMax
    return shortestCycle(name, (from) => {
      const node = left > 0 ? this.watchers.node(from) : undefined
      const edges = node === undefined ? [] : this.watchers.edgesFrom(node, left)
      left -= edges.length
      return edges
    })
  }

  /** What to tell whoever looks at a trigger: its shortest cycle, and what cannot be known of it. In words. */
  warnings(name: string, searchedMax = edgesMax): string[] {
    const node = this.watchers.node(name)
    if (node === undefined) return []
    const warnings: string[] = []
    const cycle = this.cycleOf(name, searchedMax)
    if (cycle !== undefined) warnings.push(cycleWarning(cycle))
    if (node.writes.hasUnknown || node.deletes.hasUnknown || node.warms.hasUnknown) {
      warnings.push("writes keys that its source does not tell, so that cycles through them are not seen")
    }
    return warnings
  }
}

const setsItselfOff = (node: TriggerNode): boolean =>
  effectsOf(node).some(
    ([kind, { patterns }]) =>
      kind !== "ttl" &&
      eventsOf[kind].some((event) => node.events.includes(event)) &&
      patterns.some((keys) => globsOverlap(node.pattern, keys))
  )

const namesShown = 16 // names of a cycle; one of thousands is told by its beginning

/** A cycle in words. */
export const cycleWarning = (cycle: readonly string[]): string => {
  const shown = cycle.slice(0, namesShown).map((name) => `'${name}'`)
  if (cycle.length > namesShown) shown.push(`${cycle.length - namesShown} more`)
  return `sets itself off: ${[...shown, `'${cycle[0]}'`].join(" → ")}; a cascade runs each trigger once for a key`
}

// ---- one trigger

/** What one trigger touches. O(source). */
export const analyseTrigger = ({ name, pattern, events, source }: GraphInput): TriggerNode => {
  const parsed = hidesGlobals.test(source) ? undefined : parseLua(source)
  const found = parsed === undefined ? undefined : new Reach(parsed, pattern)
  const set = (of: keyof Touched): KeySet => found?.touched[of].result() ?? everything
  return {
    name,
    pattern,
    events,
    reads: set("reads"),
    writes: set("writes"),
    expires: set("expires"),
    deletes: set("deletes"),
    warms: set("warms"),
    emits: set("emits"),
    webhooks: set("webhooks")
  }
}

/** With one of these words in it a source can get at globals, `cache` among them, without naming them. */
const hidesGlobals = /\b(?:_G|_ENV|load)\b/

const everything: KeySet = { patterns: [], hasUnknown: true }

class Keys {
  private readonly patterns = new Set<string>()
  hasUnknown = false

  add(patterns: readonly string[] | null): void {
    if (patterns === null) {
      this.hasUnknown = true
      return
    }
    for (const each of patterns) {
      if (each === "*" || this.patterns.size >= patternsMax) this.hasUnknown = true
      else this.patterns.add(each)
    }
  }

  result(): KeySet {
    return { patterns: [...this.patterns].sort(), hasUnknown: this.hasUnknown }
  }
}

const patternsMax = 256 // a list of one trigger; what exceeds it counts as unknown

interface Touched {
  readonly reads: Keys
  readonly writes: Keys
  readonly expires: Keys
  readonly deletes: Keys
  readonly warms: Keys
  readonly emits: Keys
  readonly webhooks: Keys
}

interface CacheCall {
  readonly method: string
  readonly args: readonly Expression[]
}

/** What the functions of `cache` do to their first argument. */
const touchedBy: Readonly<Record<string, keyof Touched | undefined>> = {
  __proto__: null as never,
  get: "reads",
  set: "writes",
  delete: "deletes",
  warm: "warms",
  emit: "emits",
  webhook: "webhooks"
}

/** Those that touch nothing that the graph knows. */
const harmless = new Set(["log", "diff", "reject"])

class Reach {
  readonly touched: Touched = {
    reads: new Keys(),
    writes: new Keys(),
    expires: new Keys(),
    deletes: new Keys(),
    warms: new Keys(),
    emits: new Keys(),
    webhooks: new Keys()
  }
  /** Globals that are not, or may not be, what they were when the run began. */
  private readonly changed = new Set<string>()
  /** `..` may be anything's own. */
  private readonly hasMetatables: boolean
  /** Someone else has got hold of the event, or of `cache`. */
  private hasLeaked = { event: false, cache: false }

  private readonly known = new Map<Expression, readonly string[] | null>()
  /** What the key of the event may be. */
  private readonly watched: readonly string[] | null

  constructor(parsed: ParsedLua, pattern: string) {
    this.watched = isOpenEnded(pattern) ? null : [pattern]
    for (const target of parsed.targets) this.assign(target)
    if (parsed.usesArguments) this.hasLeaked.event = true
    const calls: CacheCall[] = []
    const names = new Set<string>()
    const walk = (root: Expression): void => {
      const pending = [root]
      for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
        if (at.kind === "name" && at.local === null) names.add(at.name)
        const leaked = this.tableOf(at)
        if (leaked !== undefined) this.hasLeaked[leaked] = true
        if (this.methodOf(at) !== undefined) this.hasLeaked.cache = true
        const call = at.kind === "call" ? this.cacheCallOf(at.callee, at.args) : undefined
        if (call !== undefined) {
          calls.push(call)
          pending.push(...call.args)
        } else if (!(at.kind === "index" && this.isEventField(at))) pending.push(...partsOf(at))
      }
    }
    for (const root of parsed.expressions) walk(root)
    for (const target of parsed.targets) for (const part of partsOf(target)) walk(part)
    for (const local of parsed.locals) {
      if (local.value === null) continue
      const isAlias = this.tableOf(local.value) !== undefined || this.methodOf(local.value) !== undefined
      if (!isAlias || local.isAssigned) walk(local.value)
    }
    this.hasMetatables = names.has("setmetatable")
    if (this.hasLeaked.cache || this.changed.has("cache") || this.changed.has("cachee")) {
      for (const keys of Object.values(this.touched) as Keys[]) keys.hasUnknown = true
    }
    for (const each of calls) this.call(each)
  }

  private assign(target: Expression): void {
    if (target.kind === "name") this.changed.add(target.name)
    else if (target.kind === "index" && this.tableOf(target.of) === "event") this.hasLeaked.event = true
  }

  /** A call of one of `cache`'s functions, also by pcall. */
  private cacheCallOf(callee: Expression, args: readonly Expression[]): CacheCall | undefined {
    const method = this.methodOf(callee)
    if (method !== undefined) return { method, args }
    const isProtected = callee.kind === "name" && callee.local === null && callee.name === "pcall" && args.length > 0
    if (!isProtected || this.changed.has("pcall")) return undefined
    const inner = this.methodOf(args[0] as Expression)
    return inner === undefined ? undefined : { method: inner, args: args.slice(1) }
  }

  private call({ method, args }: CacheCall): void {
    const { touched } = this
    const [first] = args
    if (method === "warm" && first?.kind === "table") {
      for (const item of first.items) touched.warms.add(this.valuesOf(item))
      if (first.keys.length > 0) touched.warms.hasUnknown = true // by tag, by dependency
      return
    }
    const keys = first === undefined ? [] : this.valuesOf(first)
    const of = touchedBy[method]
    if (of === "writes" && mayExpire(args[2] && this.resolve(args[2]))) touched.expires.add(keys)
    if (of !== undefined) touched[of].add(of === "webhooks" ? hostsOf(keys) : keys)
    else if (!harmless.has(method)) for (const each of Object.values(touched) as Keys[]) each.hasUnknown = true
  }

  // ---- what an expression is

  /** The value that a name stands for, as far as it is one. */
  private resolve(expression: Expression): Expression {
    let at = expression
    for (let steps = 0; at.kind === "name" && at.local !== null && steps < stepsMax; steps++) {
      if (at.local.isAssigned || at.local.value === null) return at
      at = at.local.value
    }
    return at
  }

  private tableOf(expression: Expression): "event" | "cache" | undefined {
    const at = this.resolve(expression)
    if (at.kind !== "name" || at.local !== null) return undefined
    if (at.name === "event") return "event"
    return at.name === "cache" || at.name === "cachee" ? "cache" : undefined
  }

  /** `cache.get` and the like, by whatever name. */
  private methodOf(expression: Expression): string | undefined {
    const at = this.resolve(expression)
    if (at.kind !== "index" || this.tableOf(at.of) !== "cache" || at.key.kind !== "string") return undefined
    return at.key.text ?? undefined
  }

  private isEventField(at: Expression): boolean {
    return at.kind === "index" && this.tableOf(at.of) === "event" && at.key.kind === "string" && at.key.text !== null
  }

  /** The strings that an expression may be, as globs; null where they cannot be known. */
  private valuesOf(expression: Expression, depth = 0): readonly string[] | null {
    const at = this.resolve(expression)
    let values = this.known.get(at)
    if (values === undefined) {
      values = depth > stepsMax ? null : this.findValuesOf(at, depth)
      this.known.set(at, values) // a local may be part of many others
    }
    return values
  }

  private findValuesOf(at: Expression, depth: number): readonly string[] | null {
    switch (at.kind) {
      case "string":
        return at.text === null ? null : [escapeGlob(at.text)]
      case "number":
        return /^(?:0|[1-9]\d{0,14})$/.test(at.text) ? [at.text] : null
      case "index":
        return this.isEventKey(at) ? this.watched : null
      case "call":
        return this.isStringFormat(at.callee) ? formatted(at.args[0] && this.resolve(at.args[0])) : null
      case "method":
        return at.name === "format" ? formatted(this.resolve(at.of)) : null
      case "binary":
        return this.valuesOfBinary(at.operator, at.left, at.right, depth)
      default:
        return null
    }
  }

  private valuesOfBinary(
    operator: string,
    left: Expression,
    right: Expression,
    depth: number
  ): readonly string[] | null {
    // What is false or nil is no key: a call with it raises.
    if (operator === "and") return this.valuesOf(right, depth + 1)
    if (operator !== "or" && operator !== "..") return null
    const heads = this.valuesOf(left, depth + 1)
    const tails = this.valuesOf(right, depth + 1)
    if (operator === "or") return heads === null || tails === null ? null : bounded([...heads, ...tails])
    if (this.hasMetatables && (heads === null || tails === null)) return null
    const ends = tails ?? ["*"]
    return bounded((heads ?? ["*"]).flatMap((head) => ends.map((tail) => joined(head, tail))))
  }

  private isEventKey(at: Expression): boolean {
    if (this.hasLeaked.event || this.changed.has("event")) return false
    return at.kind === "index" && this.isEventField(at) && at.key.kind === "string" && at.key.text === "key"
  }

  private isStringFormat(callee: Expression): boolean {
    const at = this.resolve(callee)
    if (at.kind !== "index" || at.key.kind !== "string" || at.key.text !== "format") return false
    const of = this.resolve(at.of)
    return of.kind === "name" && of.local === null && of.name === "string" && !this.changed.has("string")
  }
}

/** Whether what is given to `cache.set` as its options may have a ttl. */
const mayExpire = (options: Expression | undefined): boolean => {
  if (options === undefined) return false
  if (options.kind !== "table") return true
  const names = options.keys.filter((_, at) => at % 2 === 0) // each with its value behind it
  return names.some((name) => name.kind !== "string" || name.text === null || name.text === "ttl")
}

const stepsMax = 64 // names for names, and parts of one key

const unionMax = 16 // strings that one expression may be

const bounded = (patterns: readonly string[]): readonly string[] | null =>
  patterns.length > unionMax || patterns.some((each) => each.length > patternLengthMax) ? null : patterns

const patternLengthMax = 1024 // bytes, as in TRIGGER SET

const joined = (head: string, tail: string): string => (head.endsWith("*") && tail === "*" ? head : head + tail)

/** What a format begins with, up to its first conversion. */
const formatted = (format: Expression | undefined): readonly string[] | null => {
  if (format?.kind !== "string" || format.text === null) return null
  const end = format.text.indexOf("%")
  return end === -1 ? [escapeGlob(format.text)] : [`${escapeGlob(format.text.slice(0, end))}*`]
}

/** A glob that means something else once there is more behind it: with a class, or a backslash at its end. */
const isOpenEnded = (glob: string): boolean => glob.includes("[") || glob.endsWith("\\")

const escapeGlob = (text: string): string => text.replace(/[*?[\]\\]/g, "\\$&")

/** `https://host:8443/path*` goes to `host:8443`; a pattern that ends within the host may go anywhere. */
const hostsOf = (patterns: readonly string[] | null): readonly string[] | null => {
  if (patterns === null) return null
  const hosts = patterns.map((pattern) => {
    const url = /^[a-z]+:\/\/(?:[^/?#@*\\]*@)?([^/?#@*\\]+)(.?)/i.exec(pattern)
    if (url === null) return /[*\\/]/.test(pattern) ? undefined : pattern
    return url[2] === "" || url[2] === "/" ? url[1] : undefined
  })
  return hosts.includes(undefined) ? null : (hosts as string[])
}

const partsOf = (expression: Expression): readonly Expression[] => {
  switch (expression.kind) {
    case "index":
      return [expression.of, expression.key]
    case "call":
      return [expression.callee, ...expression.args]
    case "method":
      return [expression.of, ...expression.args]
    case "binary":
      return [expression.left, expression.right]
    case "table":
      return [...expression.items, ...expression.keys]
    case "other":
      return expression.parts
    default:
      return []
  }
}

// ---- all of them

const eventsOf = {
  write: ["ON_WRITE", "BEFORE_WRITE"],
  delete: ["ON_DELETE", "BEFORE_DELETE"],
  warm: ["ON_DELETE"],
  ttl: ["ON_EXPIRE"]
} as const

/** What a trigger does to keys, by kind. */
const effectsOf = ({ writes, deletes, warms, expires }: TriggerNode) =>
  [
    ["write", writes],
    ["delete", deletes],
    ["warm", warms],
    ["ttl", expires]
  ] as const

/** Finds who watches keys of a pattern: those whose literal head goes on from, or leads to, the pattern's own. */
class Watchers {
  private readonly byName = new Map<string, TriggerNode>()
  private readonly byHead = new Map<string, Set<TriggerNode>>()
  /** The heads in order. */
  private readonly heads: string[] = []

  node(name: string): TriggerNode | undefined {
    return this.byName.get(name)
  }

  all(): Iterable<TriggerNode> {
    return this.byName.values()
  }

  add(node: TriggerNode): void {
    this.byName.set(node.name, node)
    const head = headOf(node.pattern)
    const same = this.byHead.get(head)
    if (same !== undefined) same.add(node)
    else {
      this.byHead.set(head, new Set([node]))
      this.heads.splice(this.firstFrom(head), 0, head)
    }
  }

  remove(node: TriggerNode): void {
    this.byName.delete(node.name)
    const head = headOf(node.pattern)
    const same = this.byHead.get(head) as Set<TriggerNode>
    same.delete(node)
    if (same.size > 0) return
    this.byHead.delete(head)
    this.heads.splice(this.firstFrom(head), 1)
  }

  /** At most `limit` edges. */
  edgesFrom(node: TriggerNode, limit: number): TriggerEdge[] {
    const edges: TriggerEdge[] = []
    for (const [kind, { patterns }] of effectsOf(node)) {
      for (const keys of patterns) {
        for (const to of this.of(keys)) {
          for (const event of eventsOf[kind]) {
            if (edges.length >= limit) return edges
            if (!to.events.includes(event)) continue
            edges.push({ from: node.name, to: to.name, by: kind, keys, event, isLater: kind === "ttl" })
          }
        }
      }
    }
    return edges
  }

  private *of(keys: string): Iterable<TriggerNode> {
    const head = headOf(keys)
    for (let length = 0; length < head.length; length++) yield* this.overlapping(head.slice(0, length), keys)
    for (let at = this.firstFrom(head); at < this.heads.length; at++) {
      const other = this.heads[at] as string
      if (!other.startsWith(head)) return
      yield* this.overlapping(other, keys)
    }
  }

  private *overlapping(head: string, keys: string): Iterable<TriggerNode> {
    for (const node of this.byHead.get(head) ?? []) if (globsOverlap(node.pattern, keys)) yield node
  }

  /** Where in `heads` the first stands that does not come before this one. */
  private firstFrom(head: string): number {
    let [low, high] = [0, this.heads.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.heads[middle] as string) < head) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The text that all keys of a glob begin with. */
const headOf = (glob: string): string => {
  let head = ""
  for (let i = 0; i < glob.length; i++) {
    const character = glob[i] as string
    if (character === "*" || character === "?" || character === "[") return head
    head += character === "\\" && i + 1 < glob.length ? glob[++i] : character
  }
  return head
}

/**
 * A glob's elements: a character, null for any one, "*" as `star`. A class counts as any one: more may overlap than do.
 */
const elementsOf = (glob: string): ReadonlyArray<string | null> => {
  const elements: Array<string | null> = []
  for (let i = 0; i < glob.length; i++) {
    const character = glob[i] as string
    if (character === "*") {
      if (elements.at(-1) !== star) elements.push(star)
    } else if (character === "?") elements.push(null)
    else if (character === "[") {
      const end = glob.indexOf("]", i + 1)
      if (end === -1 || glob.slice(i, end).includes("\\")) return [star] // not worth more than to be careful
      i = end
      elements.push(null)
    } else elements.push(character === "\\" && i + 1 < glob.length ? (glob[++i] as string) : character)
  }
  return elements
}

const star = "**"

/** Whether there is a key that both globs match; true where that is in doubt. O(product of their lengths). */
export const globsOverlap = (one: string, other: string): boolean => {
  const a = elementsOf(one)
  const b = elementsOf(other)
  // row[j]: the first i elements of a and the first j of b match a common text
  let row = new Uint8Array(b.length + 1)
  row[0] = 1
  for (let j = 1; j <= b.length && b[j - 1] === star; j++) row[j] = 1
  for (let i = 1; i <= a.length; i++) {
    const next = new Uint8Array(b.length + 1)
    const x = a[i - 1] as string | null
    next[0] = x === star ? (row[0] as number) : 0
    for (let j = 1; j <= b.length; j++) {
      const y = b[j - 1] as string | null
      if (x === star || y === star) next[j] = row[j] === 1 || next[j - 1] === 1 ? 1 : 0
      else next[j] = row[j - 1] === 1 && (x === null || y === null || x === y) ? 1 : 0
    }
    row = next
  }
  return row[b.length] === 1
}

// ---- cycles

/** For each node that is on a cycle and in none of those found so far, its shortest one. */
const cyclesOf = (edgesFrom: ReadonlyMap<string, readonly TriggerEdge[]>): string[][] => {
  const cycles: string[][] = []
  const covered = new Set<string>()
  const componentOf = components(edgesFrom)
  for (const name of edgesFrom.keys()) {
    if (covered.has(name)) continue
    // Whoever is on a cycle is in one component with all of it; most are in one by themselves.
    const component = componentOf.get(name)
    const within = (from: string) =>
      (edgesFrom.get(from) ?? []).filter(({ to }) => to === name || componentOf.get(to) === component)
    const cycle = shortestCycle(name, within)
    if (cycle === undefined) continue
    for (const each of cycle) covered.add(each)
    cycles.push(cycle)
  }
  return cycles
}

/** Numbers the strongly connected components, without recursion: Tarjan, SIAM J. Comput. 1 (1972). O(nodes + edges). */
const components = (edgesFrom: ReadonlyMap<string, readonly TriggerEdge[]>): Map<string, number> => {
  const componentOf = new Map<string, number>()
  const order = new Map<string, number>()
  const lowest = new Map<string, number>()
  const open: string[] = []
  const enter = (name: string) => {
    order.set(name, order.size)
    lowest.set(name, order.size - 1)
    open.push(name)
    return { name, edges: edgesFrom.get(name) ?? [], at: 0 }
  }
  const lower = (name: string, to: number) => lowest.set(name, Math.min(lowest.get(name) as number, to))
  for (const root of edgesFrom.keys()) {
    if (order.has(root)) continue
    const path = [enter(root)]
    for (let step = path.at(-1); step !== undefined; step = path.at(-1)) {
      const edge = step.edges[step.at++]
      if (edge !== undefined) {
        if (edge.isLater || componentOf.has(edge.to)) continue
        const seen = order.get(edge.to)
        if (seen === undefined) path.push(enter(edge.to))
        else lower(step.name, seen)
        continue
      }
      path.pop()
      const { name } = step
      const parent = path.at(-1)
      if (parent !== undefined) lower(parent.name, lowest.get(name) as number)
      if (lowest.get(name) !== order.get(name)) continue
      for (let member = open.pop(); member !== undefined; member = open.pop()) {
        componentOf.set(member, order.get(name) as number)
        if (member === name) break
      }
    }
  }
  return componentOf
}

/** The names on the shortest way from `name` back to itself. */
const shortestCycle = (name: string, edgesFrom: (name: string) => readonly TriggerEdge[]): string[] | undefined => {
  const cameFrom = new Map<string, string>()
  const queue = [name]
  for (let at = 0; at < queue.length; at++) {
    const from = queue[at] as string
    for (const { to, isLater } of edgesFrom(from)) {
      if (isLater) continue
      if (to === name) {
        const path = [from]
        while (path[0] !== name) path.unshift(cameFrom.get(path[0] as string) as string)
        return path
      }
      if (cameFrom.has(to)) continue
      cameFrom.set(to, from)
      queue.push(to)
    }
  }
  return undefined
}
