import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { CompiledGlob } from "../../src/kernel/CompiledGlob.ts"
import { globMatches } from "../../src/kernel/Glob.ts"
import { scheduleCount } from "../support/Random.ts"

describe("globMatches", () => {
  it.each([
    ["hello", "hello", true],
    ["hello", "hell", false],
    ["h?llo", "hallo", true],
    ["h?llo", "hllo", false],
    ["h*llo", "heeeello", true],
    ["h*", "h", true],
    ["*", "anything", true],
    ["*", "", false],
    ["", "", true],
    ["", "a", false],
    ["h[ae]llo", "hello", true],
    ["h[ae]llo", "hillo", false],
    ["h[^e]llo", "hallo", true],
    ["h[^e]llo", "hello", false],
    ["h[a-c]llo", "hbllo", true],
    ["h[c-a]llo", "hbllo", true],
    ["h[a-c]llo", "hdllo", false],
    ["[]", "a", false],
    ["[^]", "a", true],
    ["[abc", "b", true],
    ["[a", "a", true],
    ["[\\]]", "]", true],
    ["[a-]", "-", false],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["a\\", "a\\", true],
    ["**a**", "bab", true],
    ["*a*b*c", "xxaxxbxxc", true],
    ["*a*b*c", "xxaxxcxxb", false],
    ["[\xfe-\xff]", "\xff", true],
    ["a\0?", "a\0b", true]
  ])("%j on %j: %s", (pattern, text, expected) => {
    expect(globMatches(pattern, text)).toBe(expected)
  })

  it("is what trying every split at every star finds", () => {
    const letters = fc.constantFrom("a", "b", "*", "?", "[a]", "[^a]", "[a-b]", "\\*", "*")
    const pattern = fc.array(letters, { maxLength: 8 }).map((parts) => parts.join(""))
    const text = fc
      .array(fc.constantFrom("a", "b", "*", "c"), { minLength: 1, maxLength: 8 })
      .map((parts) => parts.join(""))
    fc.assert(
      fc.property(pattern, text, (p, t) => {
        expect(globMatches(p, t)).toBe(tryAll(p, t))
      }),
      { numRuns: scheduleCount(5_000) }
    )
  })

  it("does not take exponential time where a matcher that tries every split would", () => {
    // 2^60 splits; counted in the calls that a linear walk makes it is nothing, and the test ends.
    expect(globMatches(`${"a*".repeat(60)}b`, "a".repeat(2_000))).toBe(false)
  })
})

describe("CompiledGlob", () => {
  const agrees = (pattern: string, text: string): void => {
    const glob = new CompiledGlob(pattern)
    expect(glob.matches(text)).toBe(globMatches(pattern, text))
    expect(glob.steps).toBeLessThanOrEqual(glob.stepsMax(text.length))
  }

  it("is what globMatches says of any pattern, those included that are never closed", () => {
    const letters = ["a", "b", "*", "*", "?", "[", "]", "^", "-", "\\", "[ab]", "[^a]", "[b-a]", "\u00ff", "\u0100"]
    const text = (of: string[], maxLength: number) =>
      fc.array(fc.constantFrom(...of), { maxLength }).map((parts) => parts.join(""))
    fc.assert(
      fc.property(text(letters, 10), text(["a", "b", "c", "*", "]", "-", "^", "\\", "\u00ff", "\u0100"], 10), agrees),
      { numRuns: scheduleCount(20_000) }
    )
  })

  it("is what globMatches says of patterns and keys longer than a word of bits, and than a kilobyte", () => {
    const run = fc.constantFrom(1, 2, 30, 31, 32, 33, 63, 64, 249, 250, 251, 400)
    const parts = (...of: string[]) =>
      fc
        .array(fc.tuple(fc.constantFrom(...of), run), { minLength: 1, maxLength: 6 })
        .map((all) => all.map(([part, times]) => part.repeat(times)).join(""))
    const glob = fc
      .array(fc.oneof(parts("a", "b", "ab"), fc.constantFrom("*", "*", "?", "[ab]", "[^b]")), { maxLength: 7 })
      .map((all) => all.join(""))
    // Of keys that are made from the pattern about half match; of others almost none would.
    const like = (pattern: string, fill: string) => pattern.replace(/\[\^b\]|\[ab\]|\?/g, "a").replaceAll("*", fill)
    fc.assert(
      fc.property(glob, parts("a", "b", "c", "ab"), fc.boolean(), (pattern, text, isLike) => {
        agrees(pattern, isLike ? like(pattern, text) : text)
        agrees(pattern, isLike ? `${like(pattern, text)}b` : `${text}a`)
      }),
      { numRuns: scheduleCount(200) }
    )
  })

  it.each([
    ["stars and single bytes", `*${"?".repeat(1_023)}`, 33],
    ["classes between stars", "*[a-z]".repeat(170), 7],
    ["literals between stars", "a*".repeat(512), 2],
    ["a literal that is nearly there everywhere", `*${"a".repeat(1_021)}b*`, 33]
  ])("takes no more than a few steps for each byte of a key, whatever the glob: %s", (_, pattern, stepsPerByte) => {
    const glob = new CompiledGlob(pattern)
    for (const text of ["a".repeat(65_536), "ab".repeat(32_768), "x".repeat(65_536)]) {
      glob.matches(text)
      expect(glob.steps).toBeLessThanOrEqual(glob.stepsMax(text.length))
    }
    expect(glob.stepsMax(65_536)).toBeLessThanOrEqual((1 + stepsPerByte) * 65_536 + 1)
  })

  it("answers the same again, whatever it was asked before", () => {
    const glob = new CompiledGlob(`*[a]${"?".repeat(40)}b`)
    const [yes, no] = [`xa${"x".repeat(40)}b`, `xa${"x".repeat(39)}b`]
    expect([glob.matches(yes), glob.matches(no), glob.matches(""), glob.matches(yes)]).toEqual([
      true,
      false,
      false,
      true
    ])
  })
})

/** The obvious matcher: one element a token, every split at a star. */
const tryAll = (pattern: string, text: string): boolean => {
  const token = /^(?:\\.|\[[^\]]*\]|.)/.exec(pattern)?.[0]
  if (token === undefined) return text === ""
  const rest = pattern.slice(token.length)
  if (token === "*") {
    for (let i = 0; i <= text.length; i++) if (tryAll(rest, text.slice(i))) return true
    return false
  }
  const c = text[0]
  if (c === undefined) return false
  const isMatch =
    token === "?" ||
    token === c ||
    token === `\\${c}` ||
    (token === "[a]" && c === "a") ||
    (token === "[^a]" && c !== "a") ||
    (token === "[a-b]" && (c === "a" || c === "b"))
  return isMatch && tryAll(rest, text.slice(1))
}
