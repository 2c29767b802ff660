import * as fc from "fast-check"
import { expect, it } from "vitest"
import { lineDiff } from "../../src/triggers/LineDiff.ts"

const shown = (before: string, after: string) => lineDiff(before, after).map(([sign, text]) => `${sign}${text}`)

it("shows what goes and what comes, with two lines around", () => {
  const before = ["a", "b", "c", "d", "e", "f", "g", "h"]
  const after = before.map((line) => (line === "e" ? "E" : line))
  expect(shown(before.join("\n"), after.join("\n"))).toEqual(["@2 lines as before", " c", " d", "-e", "+E", " f", " g"])
})

it("shows nothing for equal texts, and every line of a text that is new", () => {
  expect(lineDiff("a\nb", "a\nb")).toEqual([])
  expect(shown("", "a\nb")).toEqual(["-", "+a", "+b"])
})

it("keeps lines that moved apart", () => {
  expect(shown("a\nb\nc", "a\nx\nb\ny\nc")).toEqual([" a", "+x", " b", "+y", " c"])
})

it("shows texts that are too long to compare as replaced", () => {
  const numbered = (sign: string) => Array.from({ length: 2_100 }, (_, at) => `${sign}${at}`).join("\n")
  const lines = lineDiff(numbered("a"), numbered("b"))
  expect([lines.length, lines[0], lines.at(-1)]).toEqual([4_200, ["-", "a0"], ["+", "b2099"]])
})

it("gives both texts again, whatever they are", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 12 }).map((lines) => lines.join("\n"))
  fc.assert(
    fc.property(text, text, (before, after) => {
      const lines = lineDiff(before, after)
      const kept = lines.filter(([sign]) => sign === " ").length
      const [gone, come] = ["-", "+"].map((sign) => lines.filter((line) => line[0] === sign).length)
      const skipped = lines
        .filter(([sign]) => sign === "@")
        .reduce((sum, [, text]) => sum + Number.parseInt(text, 10), 0)
      if (before === after) {
        expect(lines).toEqual([])
        return
      }
      // What is left out at the end is not told of.
      expect(kept + skipped + (gone as number)).toBeLessThanOrEqual(before.split("\n").length)
      expect((gone as number) - (come as number)).toBe(before.split("\n").length - after.split("\n").length)
      const side = (sign: string) => lines.filter(([s]) => s === sign || s === " ").map(([, text]) => text)
      expect(isSubsequence(side("-"), before.split("\n"))).toBe(true)
      expect(isSubsequence(side("+"), after.split("\n"))).toBe(true)
    })
  )
})

const isSubsequence = (part: readonly string[], whole: readonly string[]): boolean => {
  let at = 0
  for (const line of whole) if (line === part[at]) at++
  return at === part.length
}
