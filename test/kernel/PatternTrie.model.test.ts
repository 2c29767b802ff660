/** The trie against a plain filter over a list of watchers, over an alphabet so small that prefixes nest and split. */
import { describe, expect, it } from "vitest"
import { allCauses, Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import { type Pattern, PatternError, parsePattern } from "../../src/kernel/Pattern.ts"
import { type Match, PatternTrie, unmatched, type Watcher } from "../../src/kernel/PatternTrie.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

/** Every word over "ab" with at most four letters: what a trie of two letters can get wrong shows on one of them. */
const words = [""]
for (let at = 0; (words[at] as string).length < 4; at++) words.push(`${words[at]}a`, `${words[at]}b`)

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
  const isPrefix = text === "" || random.oneIn(2)
  return {
    pattern: like ?? pattern(isPrefix ? `${text}*` : text),
    mask: random.between(0, allCauses),
    priority: random.between(-1, 1)
  }
}

/** The naive answer: everybody who matches, by priority, equal ones as they stand in the list. */
const filtered = (list: readonly Watcher[], key: string): readonly Watcher[] =>
  list
    .filter(({ pattern: { kind, text } }) => (kind === "exact" ? key === text : key.startsWith(text)))
    .sort((a, b) => b.priority - a.priority)

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
  it("answers every key as a plain filter of its watchers does", { timeout: propertyTimeoutMs }, () => {
    forAllSeeds(1500, (random) => {
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
