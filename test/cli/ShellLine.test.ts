import { describe, expect, it } from "vitest"
import { NoWords, ShellInput, wordsOf } from "../../src/cli/ShellLine.ts"

describe("a line", () => {
  it.each([
    ["", []],
    ["  \t ", []],
    ["GET a", ["GET", "a"]],
    ["  SET  a   b  ", ["SET", "a", "b"]],
    ['SET a "two words"', ["SET", "a", "two words"]],
    ["SET a 'two \"words\"'", ["SET", "a", 'two "words"']],
    ["SET a 'it\\'s \\n'", ["SET", "a", "it's \\n"]],
    ['"\\x00\\xff\\n\\r\\t\\a\\b\\"\\\\\\q\\x0g"', ['\x00\xff\n\r\t\x07\b"\\qx0g']],
    ['""', [""]],
    ["''", [""]],
    ['a"b c"', ["ab c"]],
    ["é", ["\xc3\xa9"]],
    ["\\n", ["\\n"]]
  ])("%j has the words %j", (line, words) => {
    expect(wordsOf(line)).toEqual(words)
  })

  it.each([
    ['SET a "b', 'a quote (") is not closed'],
    ["SET a 'b\\'", "a quote (') is not closed"],
    ["it's", "a quote (') is not closed"],
    ['"a"b', 'a blank is missing behind the closing quote (")'],
    ["'a'b", "a blank is missing behind the closing quote (')"]
  ])("%j is refused: %s", (line, reason) => {
    expect(wordsOf(line)).toEqual(new NoWords(reason))
  })
})

describe("lines", () => {
  /** What comes of each line. */
  const taken = (...lines: readonly string[]) => {
    const input = new ShellInput()
    return lines.map((line) => input.take(line))
  }

  it("are commands, but for comments and empty ones", () => {
    expect(taken("PING", "", "  # no", "GET #a")).toEqual([["PING"], null, null, ["GET", "#a"]])
  })

  it("up to the word that ends them are the last argument", () => {
    expect(taken("TRIGGER REGISTER 'a b*' ON_WRITE <<LUA", "  return 'é'", "", "-- <<LUA", " LUA ", "PING")).toEqual([
      null,
      null,
      null,
      null,
      ["TRIGGER", "REGISTER", "a b*", "ON_WRITE", Buffer.from("  return 'é'\n\n-- <<LUA\n").toString("latin1")],
      ["PING"]
    ])
  })

  it("may end with another word, in quotes as a shell has them, and be none", () => {
    expect(taken("SET a <<'END_1'", "END_1")).toEqual([null, ["SET", "a", ""]])
    expect(taken('SET a <<"E"', "x", "E")).toEqual([null, null, ["SET", "a", "x\n"]])
  })

  it("begin no text by words that only look like it", () => {
    expect(taken('SET a "<<LUA"', "SET a 'b <<LUA'", "SET a <<1", "SET a b<<LUA", "SET <<LUA b")).toEqual([
      ["SET", "a", "<<LUA"],
      ["SET", "a", "b <<LUA"],
      ["SET", "a", "<<1"],
      ["SET", "a", "b<<LUA"],
      ["SET", "<<LUA", "b"]
    ])
  })

  it("that were begun can be abandoned", () => {
    const input = new ShellInput()
    input.take("SET a <<LUA")
    input.take("x")
    expect(input.ending).toBe("LUA")
    input.abandon()
    expect(input.ending).toBe(null)
    expect(input.take("PING")).toEqual(["PING"])
  })

  it("with a quote that is open are refused, and the next one is a line again", () => {
    expect(taken("SET a 'b <<LUA", "PING")).toEqual([new NoWords("a quote (') is not closed"), ["PING"]])
  })
})
