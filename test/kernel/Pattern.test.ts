import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { globMatches } from "../../src/kernel/Glob.ts"
import { type Pattern, PatternError, parsePattern, patternMatches } from "../../src/kernel/Pattern.ts"
import { firstSeed } from "../support/Random.ts"

const escaped = (text: string): string => text.replace(/[\\*?[]/g, "\\$&")

describe("parsePattern", () => {
  it("reads a text without wildcards as one key, and one that ends in a star as a prefix", () => {
    expect(parsePattern("session:42")).toEqual({
      source: "session:42",
      kind: "exact",
      text: "session:42",
      isGlob: false
    })
    expect(parsePattern("session:*")).toEqual({ source: "session:*", kind: "prefix", text: "session:", isGlob: false })
    expect(parsePattern("*")).toEqual({ source: "*", kind: "prefix", text: "", isGlob: false })
  })

  it("takes the character after a backslash as it is", () => {
    expect(parsePattern("a\\*")).toEqual({ source: "a\\*", kind: "exact", text: "a*", isGlob: false })
    expect(parsePattern("a\\**")).toEqual({ source: "a\\**", kind: "prefix", text: "a*", isGlob: false })
    expect(parsePattern("\\\\\\?\\[\\x")).toEqual({
      source: "\\\\\\?\\[\\x",
      kind: "exact",
      text: "\\?[x",
      isGlob: false
    })
  })

  it("reads back any text that was escaped, as a key and as a prefix", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 200, unit: "binary" }), (text) => {
        expect(parsePattern(escaped(text))).toMatchObject({ kind: "exact", text })
        expect(parsePattern(`${escaped(text)}*`)).toMatchObject({ kind: "prefix", text })
      }),
      { seed: firstSeed }
    )
  })

  it.each([
    ["", 0, "pattern '' is empty"],
    ["a*b[cd", 3, "pattern 'a*b[cd' has a '[' at offset 3 that is never closed"],
    ["[\\]", 0, "pattern '[\\]' has a '[' at offset 0 that is never closed"],
    ["[^", 0, "pattern '[^' has a '[' at offset 0 that is never closed"],
    ["a?\\", 2, "pattern 'a?\\' ends in a lone backslash"],
    ["a\\", 1, "pattern 'a\\' ends in a lone backslash"],
    ["k".repeat(1025), 1024, `pattern '${"k".repeat(32)}' is longer than 1024 bytes`]
  ])("refuses %j, saying where and what would be right", (source, offset, message) => {
    const refusal = parsePattern(source)
    expect(refusal).toBeInstanceOf(PatternError)
    expect(refusal).toMatchObject({
      name: "PatternError",
      offset,
      message: `${message}; use an exact key, a prefix that ends in '*', or a glob of * ? [ab] [^a-z]`
    })
  })

  it.each([
    ["a*b", "a"],
    ["*:lock", ""],
    ["user:?:x", "user:"],
    ["\\**\\*", "*"],
    ["k[^a-z]*", "k"],
    ["[]", ""],
    ["a**b*", "a"]
  ])("reads %j as a glob, all keys of which begin with %j", (source, text) => {
    expect(parsePattern(source)).toMatchObject({ source, kind: "glob", text, isGlob: true })
  })

  it("takes several stars at the end for one", () => {
    expect(parsePattern("a***")).toEqual({ source: "a***", kind: "prefix", text: "a", isGlob: false })
  })

  it("takes a pattern of exactly the longest length", () => {
    expect(parsePattern("k".repeat(1024))).toMatchObject({ kind: "exact", text: "k".repeat(1024) })
  })
})

describe("patternMatches", () => {
  const matches = (source: string, key: string) => patternMatches(parsePattern(source) as Pattern, key)

  it("is what Redis' glob says, whatever kind the pattern is of", () => {
    const part = fc.constantFrom("a", "b", "*", "?", "[ab]", "[^a]", "\\*", "\\a")
    const source = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""))
    const key = fc.string({ unit: fc.constantFrom("a", "b", "c", "*"), minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(source, key, (from, text) => {
        expect(matches(from, text)).toBe(globMatches(from, text))
      }),
      { seed: firstSeed, numRuns: 5_000 }
    )
  })

  it.each([
    ["*secret*", "my-secret-1"],
    ["*s?cret*", "my-secret-1"],
    ["*[r-t]ecret-1*x", "my-secret-1"],
    ["m*secret*", "my-secret-1"]
  ])("lets nobody past %j with a long key", (source, key) => {
    for (const length of [1, 1_024, 1_025, 1_100, 100_000]) {
      expect([matches(source, key + "x".repeat(length)), matches(source, "x".repeat(length))]).toEqual([true, false])
    }
  })

  it("takes the star alone for every key, also the empty one", () => {
    expect([matches("*", ""), matches("?*", ""), matches("a", "")]).toEqual([true, false, false])
  })
})
