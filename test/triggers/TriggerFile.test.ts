/** Trigger files: what is read out of their comments, and what is said where that is wrong. */
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { optionsDefault } from "../../src/triggers/Trigger.ts"
import { fieldNames, parse, TriggerFileError } from "../../src/triggers/TriggerFile.ts"

const front = "-- match: price:*\n-- on: ON_WRITE\n"

/** A file's reading, or throws what is wrong with it. */
const read = (text: string, file = "folder/price.lua") => {
  const parsed = parse(file, text)
  if (parsed instanceof TriggerFileError) throw parsed
  return parsed
}

const problemsOf = (text: string) => {
  const parsed = parse("price.lua", text)
  return parsed instanceof TriggerFileError ? parsed.message.split("\n") : []
}

describe("the front matter", () => {
  it("says what a trigger is for, and the whole file is its source", () => {
    const text = `${front}--\n-- Tells of prices.\n\nprint(event.value)\n`
    expect(read(text)).toEqual({
      file: "folder/price.lua",
      definition: { ...optionsDefault, name: "price", pattern: "price:*", events: ["ON_WRITE"], source: text },
      tests: []
    })
  })

  it("may say everything that a trigger can be", () => {
    const text = `-- name: all.of-it
-- match: a*
-- on: before_write, ON_DELETE,on_write
-- timeout: 200
-- memory: 4096
-- priority: -5
-- when: changed
-- sample: 10
-- include: fill, flush
-- scope: local
-- failclosed
-- isolate: true
-- disabled
return 1`
    expect(read(text).definition).toEqual({
      name: "all.of-it",
      pattern: "a*",
      events: ["ON_WRITE", "ON_DELETE", "BEFORE_WRITE"],
      source: text,
      timeoutUs: 200,
      memoryBytes: 4096,
      priority: -5,
      whenChanged: true,
      sample: 10,
      includeFill: true,
      includeFlush: true,
      scope: "local",
      failClosed: true,
      isolate: true,
      isEnabled: false
    })
    expect(text.match(/^-- \w+/gm)?.map((word) => word.slice(3))).toEqual(fieldNames)
  })

  it("may stand behind blank lines, have carriage returns, and a byte order mark", () => {
    const { definition } = read(`\uFEFF\r\n  -- match:   price:*  \r\n--on:ON_READ\r\nreturn 1\r\n`)
    expect(definition).toMatchObject({ pattern: "price:*", events: ["ON_READ"] })
    expect(definition.source.startsWith("\r\n")).toBe(true)
  })

  it("takes flags that are switched off", () => {
    const { definition } = read(`${front}-- isolate: false\n-- disabled: false\nreturn 1`)
    expect(definition).toMatchObject({ isolate: false, isEnabled: true })
  })

  it("leaves prose alone, and what the code's own comments say", () => {
    const text = `${front}-- It is meant so.\n-- Note: 5 is the limit\n\n--[[ on: ]]\nreturn 1\n-- timeout: never\n`
    expect(read(text).definition.timeoutUs).toBe(optionsDefault.timeoutUs)
  })

  it.each([
    [
      "return 1",
      ["price.lua:1: the comment that a trigger's file begins with says '-- match: session:*'; this one does not"]
    ],
    [
      "-- match: a\nreturn 1",
      ["price.lua:1: the comment that a trigger's file begins with says '-- on: ON_EXPIRE'; this one does not"]
    ],
    [
      `-- mach: a\n${front}return 1`,
      [`price.lua:1: 'mach' is no field of a trigger; there are ${fieldNames.join(", ")}`]
    ],
    [`${front}-- on: ON_READ\nreturn 1`, ["price.lua:3: on stands in line 2 already"]],
    [`${front}-- timeout: soon\nreturn 1`, ["price.lua:3: timeout: 'soon' is no whole number"]],
    [`${front}-- priority:\nreturn 1`, ["price.lua:3: priority: it says nothing"]],
    [
      `${front}-- when: always\nreturn 1`,
      ["price.lua:3: when: 'always' is not 'changed', which is all that it can be"]
    ],
    [`${front}-- include: all\nreturn 1`, ["price.lua:3: include: 'all' is neither fill nor flush"]],
    [
      `${front}-- isolate: 1\nreturn 1`,
      ["price.lua:3: isolate: '1' is neither true nor false; the word alone means true"]
    ],
    [`${front}\n-- prose\n-- scope: here\nreturn 1`, ["price.lua:5: scope: 'here' is none of all, local"]],
    [
      `${front}-- timeout: 2000\nreturn 1`,
      ["price.lua:3: timeout: 2000 is not a whole number of microseconds from 1 to 1000"]
    ],
    [
      "-- match: a\n-- on: ON_WRITE, ON_FIRE\nreturn 1",
      [expect.stringMatching(/^price\.lua:2: on: 'ON_FIRE' is none of ON_WRITE, /)]
    ],
    [
      `${front}-- failclosed\nreturn 1`,
      [expect.stringMatching(/^price\.lua:3: failclosed: it goes with BEFORE_WRITE/)]
    ],
    [
      "-- match: \n-- on: ON_READ\n-- x: y\nreturn 1",
      ["price.lua:1: match: it says nothing", expect.stringMatching(/^price\.lua:3: 'x' is no field/)]
    ]
  ])("of %j is refused with the line and what would be right", (text, problems) => {
    expect(problemsOf(text)).toEqual(problems)
  })

  it("of a file whose name is no name for a trigger asks for one", () => {
    const parsed = parse("my price.lua", `${front}return 1`)
    expect(parsed).toBeInstanceOf(TriggerFileError)
    expect((parsed as TriggerFileError).message).toMatch(/^my price\.lua:1: name: 'my price' is not 1 to 128 letters/)
  })
})

describe("the tests of a file", () => {
  it("are found wherever they stand, with their lines", () => {
    const { tests } = read(`${front}
-- test: the first
-- given: ON_WRITE price:1 20
-- expect: nothing
return 1
-- test: the second
--   given: ON_WRITE "price 2" {"a": 1,
--     "b": [2]}   ttl 1.5
--
-- prose: this is none of its business
--   expect: emit news hello
--   expect: return 1`)
    expect(tests).toMatchObject([
      { title: "the first", line: 4, given: { key: "price:1", value: "20", ttlMs: null } },
      {
        title: "the second",
        line: 8,
        given: { event: "ON_WRITE", key: "price 2", value: { a: 1, b: [2] }, ttlMs: 1500 },
        expected: [
          { line: 13, text: "emit news hello" },
          { line: 14, text: "return 1" }
        ]
      }
    ])
  })

  const givenAndExpect = "-- given: ON_WRITE price:1 20\n-- expect: nothing"

  it.each([
    ["-- given: ON_WRITE k v", "3: given: it stands in no test; one begins with: -- test: what it shows"],
    [`-- test:\n${givenAndExpect}`, "3: test: it has no title; say what it shows"],
    ["-- test: t\n-- given: ON_WRITE k v", "3: test: it expects nothing, which it says as: -- expect: nothing"],
    [
      "-- test: t\n-- expect: nothing",
      "3: test: it has no event; the first thing given is one, as in: -- given: ON_WRITE price:1 20"
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- expects: ok`,
      "6: 'expects' is no part of a test; there are test, given, expect"
    ],
    [
      "-- test: t\n-- given: write k v\n-- expect: ok",
      "4: given: a test begins with its event, as in: given: ON_WRITE price:1 20; not with 'write'"
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- given: ON_READ k`,
      "6: given: a test has one event, and this one has ON_WRITE already"
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- given: olds 1`,
      /^6: given: 'olds' cannot be given; there are the events \(ON_WRITE, .*\), old, cache, now$/
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- given: old a b`,
      `6: given: 'b' is too much here; a value with blanks is "in quotes"`
    ],
    [`-- test: t\n${givenAndExpect}\n-- given: now noon`, "6: given: 'noon' is no time such as 2026-01-01T12:00:00Z"],
    [`-- test: t\n${givenAndExpect}\n-- given: cache k {"a" 1}`, /^6: given: \{"a" 1\} is no JSON: /],
    [
      `-- test: t\n${givenAndExpect}\n-- given: cache k v metadata 1`,
      '6: given: metadata is a JSON object, as in: metadata {"limit": 10}'
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- given: cache k two words`,
      "6: given: 'words' is none of ttl, metadata, tags, cost; a value with blanks is \"in quotes\""
    ],
    [
      "-- test: t\n-- given: ON_WRITE\n-- expect: ok",
      "4: given: here is missing the key, as in: ON_WRITE session:42 ada"
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- expect: writes k`,
      /^6: expect: 'writes' cannot be expected; there are ok, error, .*, nothing, no, a count$/
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- expect: constructor`,
      /^6: expect: 'constructor' cannot be expected; there are /
    ],
    [
      `-- test: t\n${givenAndExpect}\n-- expect: no calls`,
      "6: expect: 'calls' cannot be counted; there are sets, deletes, emits, webhooks, logs, prints, warms"
    ],
    [`-- test: t\n${givenAndExpect}\n-- expect: delete`, "6: expect: here is missing the key, as in: delete price:1"],
    [
      `-- test: t\n${givenAndExpect}\n-- expect: set k v ttl soon`,
      "6: expect: 'soon' is no number of seconds, nor none"
    ]
  ])("with %j are refused with the line and what would be right", (lines, problem) => {
    const problems = problemsOf(`${front}${lines}\nreturn 1`)
    expect(problems).toHaveLength(1)
    if (typeof problem === "string") expect(problems[0]).toBe(`price.lua:${problem}`)
    else expect(problems[0]?.slice("price.lua:".length)).toMatch(problem)
  })

  it("all say what is wrong with them at once", () => {
    const text = `${front}-- wehn: changed\n-- test: t\n-- given: on\n-- expect: nothin\nreturn 1`
    expect(problemsOf(text).map((problem) => problem.split(":")[1])).toEqual(["3", "5", "6"])
  })
})

describe("whatever stands in a file", () => {
  const words = ["test", "given", "expect", ...fieldNames, "prose", "constructor"]
  const facts = [
    "ON_WRITE k v",
    "old",
    'set "k',
    "{",
    '{"a": [1',
    "json:",
    "json:1",
    "2 sets",
    "ttl none",
    "cost 1",
    "changed",
    "\\"
  ]
  const line = fc.oneof(
    fc
      .tuple(
        fc.constantFrom("-- ", "--", "  --   ", "--     ", ""),
        fc.constantFrom(...words),
        fc.constantFrom(": ", ":", " ", ""),
        fc.constantFrom(...facts)
      )
      .map((parts) => parts.join("")),
    fc.constantFrom("", "--", "return 1", "--[[", "]]", "\r"),
    fc.string({ maxLength: 12 })
  )

  it("is a trigger, or refused with lines that there are", () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        const parsed = parse("t.lua", lines.join("\n"))
        if (!(parsed instanceof TriggerFileError)) return
        expect(parsed.problems.length).toBeGreaterThan(0)
        for (const { line, reason } of parsed.problems) {
          expect(line).toBeGreaterThanOrEqual(1)
          expect(line).toBeLessThanOrEqual(Math.max(1, lines.join("\n").split("\n").length))
          expect(reason).not.toBe("")
        }
      })
    )
  })
})
