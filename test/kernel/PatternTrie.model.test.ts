/** The trie against a plain filter over a list of watchers, over an alphabet so small that prefixes nest and split. */
import { describe, expect, it } from "vitest"
import { allCauses, allInterests, Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import { type Pattern, PatternError, parsePattern, patternMatches } from "../../src/kernel/Pattern.ts"
import {
  globBytesMax,
  globsMax,
  type Match,
  PatternTrie,
  unmatched,
  type Watcher
} from "../../src/kernel/PatternTrie.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

/** Every word over "ab" with at most four letters: what a trie of two letters can get wrong shows on one of them. */
const words = [""]
for (let at = 0; (words[at] as string).length < 4; at++) words.push(`${words[at]}a`, `${words[at]}b`)

const globs = ["*b", "?", "?b*", "a?a", "[a]*b", "[^a]?", "a*b*"]

const pattern = (source: string): Pattern => {
  const parsed = parsePattern(source)
  if (parsed instanceof PatternError) throw parsed
  return parsed
}

const watcher = (source: string, mask = allCauses, priority = 0): Watcher => ({
  pattern: pattern(source),
  mask,
  priority
})

const randomWatcher = (random: Random, like?: Pattern): Watcher => {
  const text = random.pick(words)
  const source = random.oneIn(4) ? random.pick(globs) : text === "" || random.oneIn(2) ? `${text}*` : text
  return {
    pattern: like ?? pattern(source),
    mask: random.between(0, allInterests),
    priority: random.between(-1, 1)
  }
}

/** The naive answer: everybody who matches, by priority, equal ones as they stand in the list. */
const filtered = (list: readonly Watcher[], key: string): readonly Watcher[] =>
  list.filter(({ pattern }) => patternMatches(pattern, key)).sort((a, b) => b.priority - a.priority)

const checkMatch = (match: Match, expected: readonly Watcher[], key: string): void => {
  if (match.mask !== expected.reduce((mask, each) => mask | each.mask, 0)) throw new Error(`wrong mask at '${key}'`)
  for (const cause of Object.values(Cause)) {
    const wanted = expected.filter((each) => (each.mask & causeBit(cause)) !== 0)
    const given = match.watchersOf(cause)
    if (given.length !== wanted.length || given.some((each, i) => each !== wanted[i])) {
      throw new Error(`watchers of ${causeNames[cause]} at '${key}' are not those of the filter, or not in its order`)
    }
  }
}

describe("PatternTrie", () => {
  it("answers every key as a plain filter of its watchers does", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(1500, (random) => {
      const trie = new PatternTrie()
      const list: Watcher[] = []
      for (let step = 0; step < 40; step++) {
        const before = trie.generation
        const kept = trie.match(random.pick(words))
        const kind = random.below(8)
        if (kind < 4 || list.length === 0) {
          const added = randomWatcher(random)
          trie.add(added)
          list.push(added)
        } else if (kind < 7) {
          const [removed] = list.splice(random.below(list.length), 1)
          expect(trie.remove(removed as Watcher)).toBe(true)
          expect(trie.remove(removed as Watcher)).toBe(false)
        } else {
          const at = random.below(list.length)
          const previous = list[at] as Watcher
          const next = randomWatcher(random, previous.pattern)
          trie.replace(previous, next)
          list[at] = next
        }
        trie.checkInvariants()
        expect(trie.generation).toBeGreaterThan(before)
        expect(kept.generation).not.toBe(trie.generation)
        expect(trie.size).toBe(list.length)
        expect(trie.globSize).toBe(list.filter((each) => each.pattern.isGlob).length)
        expect(trie.mask).toBe(list.reduce((mask, each) => mask | each.mask, 0))
        for (const key of words) {
          const match = trie.match(key)
          if (match.generation !== trie.generation) throw new Error(`the answer for '${key}' is not current`)
          if (trie.match(key) !== match) throw new Error(`'${key}' asked twice has two answers`)
          checkMatch(match, filtered(list, key), key)
        }
      }
      for (const each of list) trie.remove(each)
      trie.checkInvariants()
      expect(trie.mask).toBe(0)
    })
  })

  it("finds nothing it has forgotten: a removed prefix leaves the shorter and the longer one in force", () => {
    const trie = new PatternTrie()
    const [short, middle, long] = [watcher("user:*"), watcher("user:42:*"), watcher("user:42:cart:*")]
    for (const each of [long, short, middle]) trie.add(each)
    trie.remove(middle)
    expect(trie.match("user:42:cart:1").watchersOf(Cause.write)).toEqual([long, short])
    expect(trie.match("user:42:name").watchersOf(Cause.write)).toEqual([short])
  })

  it("shares one answer among the keys that end at the same node", () => {
    const trie = new PatternTrie()
    trie.add(watcher("session:*"))
    expect(trie.match("session:1")).toBe(trie.match("session:2"))
    expect(trie.match("other:1")).toBe(trie.match("another"))
  })

  it("shares one answer among the keys that end at the same node and match the same globs", () => {
    const trie = new PatternTrie()
    for (const source of ["user:*", "user:?:cart", "*:cart"]) trie.add(watcher(source))
    const cart = trie.match("user:1:cart")
    expect(cart.watchersOf(Cause.write)).toHaveLength(3)
    expect(trie.match("user:2:cart")).toBe(cart)
    expect(trie.match("user:10:cart")).not.toBe(cart)
    expect(trie.match("user:1:name")).toBe(trie.match("user:2:name"))
  })

  it("takes its answers back when a watcher comes or goes, and lets their lists go", () => {
    const trie = new PatternTrie()
    const [first, second] = [watcher("a*"), watcher("a*")]
    trie.add(first)
    const kept = trie.answer("ab")
    const match = kept.match
    trie.add(second)
    expect(kept.match).toBe(unmatched)
    expect(match.watchersOf(Cause.write)).toEqual([first])
    expect(trie.answer("ab").match.watchersOf(Cause.write)).toEqual([first, second])
    expect(kept.match).toBe(unmatched)
  })

  it("answers as before, from other lists, when all of its lists together grow too large", () => {
    const trie = new PatternTrie()
    const everybody = Array.from({ length: 500 }, () => watcher("*"))
    const own = Array.from({ length: 600 }, (_, i) => watcher(`k${i}:*`))
    for (const each of [...everybody, ...own]) trie.add(each)
    const first = trie.answer("k0:x")
    let taken = 0
    for (let i = 0; i < own.length; i++) {
      const given = trie.match(`k${i}:x`).watchersOf(Cause.write)
      expect([given.length, given[0], given[500]]).toEqual([501, everybody[0], own[i]])
      if (taken === 0 && first.match === unmatched) taken = i
    }
    expect(taken).toBeGreaterThan(100)
    expect(trie.match("k0:y").watchersOf(Cause.write)).toHaveLength(501)
  })

  it("asks each watcher that matches once, whatever it wants, and gives one list to all causes that all want", () => {
    const trie = new PatternTrie()
    trie.add(watcher("*"))
    trie.add(watcher("a*"))
    const match = trie.match("a")
    expect(match.watchersOf(Cause.write)).toBe(match.watchersOf(Cause.read))
    expect(match.watchersOf(Cause.beforeWrite)).toEqual([])
  })

  it("takes so many globs and no more, and any number again when some have gone", () => {
    const trie = new PatternTrie()
    const all = Array.from({ length: globsMax }, (_, i) => watcher(`*${i}`))
    for (const each of all) trie.add(each)
    expect(() => trie.add(watcher("?"))).toThrow(`there are ${globsMax} globs already`)
    expect([trie.size, trie.globSize]).toEqual([globsMax, globsMax])
    trie.checkInvariants()
    trie.remove(all[0] as Watcher)
    trie.add(watcher("?"))
    expect(trie.match("7").watchersOf(Cause.write)).toHaveLength(2)
  })

  it("takes so many bytes of globs and no more, and leaves what it has as it was", () => {
    const trie = new PatternTrie()
    const glob = (name: string) => watcher(name.padEnd(1024, "?"))
    const all = Array.from({ length: globBytesMax / 1024 }, (_, i) => glob(`*${i}`))
    for (const each of all) trie.add(each)
    const refusal = `all globs together have ${globBytesMax} bytes already, of ${globBytesMax}`
    const [prefix, tooMuch] = [watcher("x*"), watcher("?")]
    expect(() => trie.add(tooMuch)).toThrow(new RangeError(refusal))
    trie.add(prefix)
    expect(() => trie.replace(prefix, tooMuch)).toThrow(new RangeError(refusal))
    expect(trie.match("x").watchersOf(Cause.write)).toEqual([prefix])
    expect([trie.refusal(tooMuch.pattern), trie.refusal(tooMuch.pattern, all[0])]).toEqual([refusal, undefined])
    trie.replace(all[0] as Watcher, glob("*z"))
    trie.remove(all[1] as Watcher)
    trie.add(tooMuch)
    trie.checkInvariants()
  })

  it.each([
    ["long literals that a key nearly has", 130, (i: number) => `*${"a".repeat(480)}b${i}`, 1],
    ["literals with many stars between", globsMax, (i: number) => `*${"a*".repeat(6)}b${i}`, 2_001],
    [
      "literals with a wildcard in them",
      130,
      (i: number) => `*${"a".repeat(400)}?${"a".repeat(90)}[bc]${i % 2}`,
      17_001
    ],
    ["no literals at all", 64, () => `${"*?[^b]".repeat(160)}[b]`, 1_001 + 11 * 1_000],
    ["literals in the wrong order, one of them long", 130, () => `*${"a".repeat(400)}*?${"a".repeat(80)}[b]`, 17_001]
  ])("asks all globs of a new key in bounded steps: %s", (_, count, source, stepsMax) => {
    const trie = new PatternTrie()
    for (let i = 0; i < count; i++) trie.add(watcher(source(i)))
    expect(trie.match("a".repeat(1_000)).watchersOf(Cause.write)).toEqual([])
    expect(trie.globSteps).toBeGreaterThanOrEqual(count)
    expect(trie.globSteps).toBeLessThanOrEqual(count * stepsMax)
  })

  it("takes a replaced watcher that it does not have for a new one, last among equals", () => {
    const trie = new PatternTrie()
    const [first, stranger, next] = [watcher("a*"), watcher("a*"), watcher("a*")]
    trie.add(first)
    trie.replace(stranger, next)
    expect(trie.match("a").watchersOf(Cause.read)).toEqual([first, next])
  })

  it("matches keys of any characters, the two halves of a surrogate pair one by one", () => {
    const trie = new PatternTrie()
    const [half, nul] = [watcher("\ud83d*"), watcher("\0*")]
    trie.add(half)
    trie.add(nul)
    expect(trie.match("\ud83d\ude00").watchersOf(Cause.write)).toEqual([half])
    expect(trie.match("\0\0").watchersOf(Cause.write)).toEqual([nul])
  })

  it("calls no answer current before it was asked", () => {
    expect(unmatched.generation).not.toBe(new PatternTrie().generation)
    expect(unmatched.mask).toBe(0)
  })
})
