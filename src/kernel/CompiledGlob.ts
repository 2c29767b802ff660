/**
 * A glob that is asked of many keys: it answers as `globMatches` does, of keys of any length, in bounded steps.
 *
 * Most globs are literals between stars. The first has to begin the key, the last to end it, and each of the others is
 * sought from where the one before it was found: the leftmost place leaves most room to those that follow, so nothing
 * is tried twice, and a key costs O(length). One with `?` or a class is walked as an automaton whose states are bits, a
 * state for each element that the key has passed [1]: a byte of the key moves 32 of them at once, and nothing is tried
 * twice there either: O(length · pattern / 32), however the two are made. Before all that come the length of the key
 * and the longest literal, which most keys do not hold.
 *
 * To compile a glob is O(length), at most 256 steps for an element; so even one that is asked of a few keys alone is to
 * be compiled where it comes from somebody who may mean harm. Memory: 32 bytes for each byte of a glob that is walked,
 * 1 KB at least.
 *
 * [1] Baeza-Yates and Gonnet, A New Approach to Text Searching, CACM 35(10), 1992: shift-and. A star is a state that
 *     stays.
 */
import { type ByteClass, parseClass, step } from "./Glob.ts"

export class CompiledGlob {
  /** What the last `matches` took at most, in bytes that were looked through and words that were moved. */
  steps = 0
  /** The literals that keys begin and end with, and those between, in their order; "" where there is none. */
  private readonly start: string
  private readonly middle: readonly string[]
  private readonly end: string
  private readonly longest: string
  private readonly lengthMin: number
  private readonly automaton: Automaton | undefined

  constructor(pattern: string) {
    const elements: number[] = [] // where each begins
    const stars = new Set<number>() // before which elements one stands
    const literals = [""] // as they are parted by stars and by elements of other kinds
    let isPlain = true
    for (let p = 0; p < pattern.length; ) {
      const kind = pattern[p] as string
      if (kind === "*") stars.add(elements.length)
      else elements.push(p)
      if (kind === "*" || kind === "?" || kind === "[") {
        literals.push("")
        if (kind !== "*") isPlain = false
        p = kind === "[" ? parseClass(pattern, p + 1).after : p + 1
      } else {
        if (kind === "\\" && p + 1 < pattern.length) p++
        literals.push(`${literals.pop()}${pattern[p++]}`)
      }
    }
    this.lengthMin = pattern === "" ? 0 : Math.max(1, elements.length) // the empty text matches the empty pattern alone
    this.start = literals[0] as string
    this.middle = literals.slice(1, -1).filter((each) => each !== "")
    this.longest = literals.reduce((a, b) => (b.length > a.length ? b : a)).slice(0, soughtMax)
    const isSought = isPlain && stars.size > 0 && this.middle.every(({ length }) => length <= soughtMax)
    this.end = isSought ? (literals.at(-1) as string) : ""
    this.automaton = isSought ? undefined : new Automaton(pattern, elements, stars)
  }

  matches(text: string): boolean {
    this.steps = 1
    if (text.length < this.lengthMin || !text.startsWith(this.start) || !text.endsWith(this.end)) return false
    if (this.automaton === undefined) return this.middle.length === 0 || this.finds(text)
    this.steps += text.length
    if (!text.includes(this.longest)) return false
    const isMatch = this.automaton.accepts(text)
    this.steps += this.automaton.steps
    return isMatch
  }

  /** What `matches` takes at most for a text of this length. */
  stepsMax(length: number): number {
    return 1 + length * (1 + (this.automaton?.words ?? 1))
  }

  private finds(text: string): boolean {
    const { middle } = this
    if (middle.length > 1) {
      this.steps += text.length
      if (!text.includes(this.longest)) return false
    }
    this.steps += text.length
    let at = this.start.length
    for (let i = 0; i < middle.length; i++) {
      const part = middle[i] as string
      at = text.indexOf(part, at)
      if (at === -1) return false
      at += part.length
    }
    return at <= text.length - this.end.length
  }
}

class Automaton {
  steps = 0
  readonly words: number
  /** For each byte the states that it leads on from; the last row is for characters that are none. */
  private readonly rows: Int32Array
  /** The states that any byte leads back to: those before a star. */
  private readonly stays: Int32Array
  private readonly states: Int32Array
  private readonly accepted: number

  constructor(
    private readonly pattern: string,
    private readonly elements: readonly number[],
    stars: ReadonlySet<number>
  ) {
    this.words = (elements.length >> 5) + 1
    this.rows = new Int32Array(257 * this.words)
    this.stays = new Int32Array(this.words)
    this.states = new Int32Array(this.words)
    this.accepted = 1 << elements.length
    for (const at of stars) this.stays[at >> 5] = (this.stays[at >> 5] as number) | (1 << at)
    const members = new Uint8Array(256)
    for (let i = 0; i < elements.length; i++) {
      const at = elements[i] as number
      const kind = pattern[at]
      if (kind === "?" || kind === "[") {
        this.fill(members, kind === "?" ? undefined : parseClass(pattern, at + 1))
        for (let byte = 0; byte < 256; byte++) if (members[byte] === 1) this.put(byte, i)
      } else {
        const code = pattern.charCodeAt(kind === "\\" && at + 1 < pattern.length ? at + 1 : at)
        if (code < 256) this.put(code, i)
      }
    }
  }

  accepts(text: string): boolean {
    const { words, rows, stays, states, accepted } = this
    const last = words - 1
    const settled = (stays[last] as number) & accepted
    states.fill(0)
    states[0] = 1
    this.steps = 0
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      const row = Math.min(code, 256) * words
      if (code >= 256) {
        rows.fill(0, row)
        this.elements.forEach((at, i) => {
          if (step(this.pattern, at, code) >= 0) this.put(256, i)
        })
      }
      let carry = 0
      let alive = 0
      for (let w = 0; w < words; w++) {
        const before = states[w] as number
        const passed = before & (rows[row + w] as number)
        const after = (before & (stays[w] as number)) | (passed << 1) | carry
        carry = passed >>> 31
        states[w] = after
        alive |= after
      }
      this.steps += words
      if (alive === 0) return false
      if (((states[last] as number) & settled) !== 0) return true
    }
    return ((states[last] as number) & accepted) !== 0
  }

  /** Ones for the bytes of a class; for every byte where there is none. */
  private fill(members: Uint8Array, of: ByteClass | undefined): void {
    const { bounds, isNegated } = of ?? everyByte
    members.fill(isNegated ? 1 : 0)
    for (let i = 0; i < bounds.length; i += 2) {
      members.fill(isNegated ? 0 : 1, bounds[i], (bounds[i + 1] as number) + 1)
    }
  }

  /** Notes in a row that the element lets its character pass. */
  private put(row: number, element: number): void {
    const at = row * this.words + (element >> 5)
    this.rows[at] = (this.rows[at] as number) | (1 << element)
  }
}

const everyByte = { bounds: [], isNegated: true }
const soughtMax = 250 // bytes; of longer literals V8's search knows only the end, and may look at a byte once for each
