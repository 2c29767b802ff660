import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { PatternError, parsePattern } from "../../src/kernel/Pattern.ts"
import { firstSeed } from "../support/Random.ts"

const escaped = (text: string): string => text.replace(/[\\*?[]/g, "\\$&")

describe("parsePattern", () => {
  it("reads a text without wildcards as one key, and one that ends in a star as a prefix", () => {
    expect(parsePattern("session:42")).toEqual({ source: "session:42", kind: "exact", text: "session:42" })
    expect(parsePattern("session:*")).toEqual({ source: "session:*", kind: "prefix", text: "session:" })
    expect(parsePattern("*")).toEqual({ source: "*", kind: "prefix", text: "" })
  })

  it("takes the character after a backslash as it is", () => {
    expect(parsePattern("a\\*")).toEqual({ source: "a\\*", kind: "exact", text: "a*" })
    expect(parsePattern("a\\**")).toEqual({ source: "a\\**", kind: "prefix", text: "a*" })
    expect(parsePattern("\\\\\\?\\[\\x")).toEqual({ source: "\\\\\\?\\[\\x", kind: "exact", text: "\\?[x" })
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
    ["a*b", 1, "pattern 'a*b' has a '*' at offset 1, before its end"],
    ["**", 0, "pattern '**' has a '*' at offset 0, before its end"],
    ["user:?", 5, "pattern 'user:?' has a '?' at offset 5, which is not supported yet"],
    ["[ab]c", 0, "pattern '[ab]c' has a '[' at offset 0, which is not supported yet"],
    ["a\\", 1, "pattern 'a\\' ends in a lone backslash"],
    ["k".repeat(1025), 1024, `pattern '${"k".repeat(32)}' is longer than 1024 bytes`]
  ])("refuses %j, saying where and what would be right", (source, offset, message) => {
    const refusal = parsePattern(source)
    expect(refusal).toBeInstanceOf(PatternError)
    expect(refusal).toMatchObject({
      name: "PatternError",
      offset,
      message: `${message}; use an exact key or a prefix that ends in one '*'`
    })
  })

  it("takes a pattern of exactly the longest length", () => {
    expect(parsePattern("k".repeat(1024))).toMatchObject({ kind: "exact", text: "k".repeat(1024) })
  })
})
