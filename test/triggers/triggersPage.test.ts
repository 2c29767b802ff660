/** docs/features/triggers.md against the code: its files run, its tables are complete. */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { commands } from "../../src/cli/commands.ts"
import { ShellInput } from "../../src/cli/ShellLine.ts"
import { triggers as triggerCommands } from "../../src/server/commands/trigger.ts"
import { logStreamLimitsDefault } from "../../src/triggers/LogStreams.ts"
import { intensityDefault } from "../../src/triggers/Quarantine.ts"
import { effectKinds, readExpectation, readGiven, type Unreadable } from "../../src/triggers/TestLine.ts"
import { optionsDefault, triggerEventNames } from "../../src/triggers/Trigger.ts"
import { fieldNames, parse, TriggerFileError } from "../../src/triggers/TriggerFile.ts"
import { runTest } from "../../src/triggers/TriggerTest.ts"

const page = readFileSync(new URL("../../docs/features/triggers.md", import.meta.url), "utf8")

/** The blocks of a language. */
const blocks = (language: string) =>
  [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter((block) => block[1] === language)
    .map((block) => block[2] ?? "")

/** The rows of the table below the row that has these titles, as cells. */
const rowsBelow = (titles: string): string[][] => {
  const [, below = ""] = page.split(`\n| ${titles} |\n`)
  const rows = below.slice(0, below.indexOf("\n\n")).split("\n").slice(1)
  return rows.map((row) => row.split(" | ").map((cell) => cell.replace(/^\| | \|$/g, "").trim()))
}

/** What stands in backticks. */
const codes = (cell = "") => [...cell.matchAll(/`([^`]+)`/g)].map((code) => code[1] as string)

describe("the page about triggers", () => {
  it.each(blocks("lua").map((text, at) => [at + 1, text] as const))("has a file %i whose tests pass", (_, text) => {
    const file = parse("page.lua", text)
    if (file instanceof TriggerFileError) throw file
    expect(file.tests.length).toBeGreaterThan(0)
    for (const test of file.tests) expect([test.title, runTest(file.definition, test)]).toEqual([test.title, []])
  })

  it("has every event", () => {
    expect(rowsBelow("event | when | `event.value`").map(([event]) => codes(event)[0])).toEqual(triggerEventNames)
  })

  it("has every field of the front matter, and the defaults of the numbers", () => {
    const rows = rowsBelow("in a file | in `TRIGGER SET` | meaning | default")
    expect(rows.map(([field]) => codes(field)[0]?.replace(/:.*/, ""))).toEqual(fieldNames)
    const byField = new Map(rows.map(([field = "", , , byDefault]) => [codes(field)[0], byDefault]))
    const { timeoutUs, memoryBytes, priority, sample, scope } = optionsDefault
    expect(["timeout:", "memory:", "priority:", "sample:", "scope:"].map((field) => byField.get(field))).toEqual(
      [timeoutUs, memoryBytes, priority, sample, scope].map(String)
    )
  })

  it("has everything that can be given, and nothing else", () => {
    const verbs = rowsBelow("given | meaning").flatMap(([given]) =>
      codes(given).map((code) => code.split(" ")[0] as string)
    )
    expect(verbs).toEqual(["ON_WRITE", "old", "cache", "now"])
    const given = readGiven("ON_WRITE k v", undefined)
    expect(() => readGiven("x", given)).toThrow(/\), old, cache, now$/)
  })

  it("has everything that can be expected, and nothing else", () => {
    const verbs = rowsBelow("expect | meaning").flatMap(([expected]) =>
      codes(expected).map((code) => code.split(" ")[0] as string)
    )
    let said = ""
    try {
      readExpectation("x")
    } catch (error) {
      said = (error as Unreadable).message
    }
    const known = (said.split("there are ")[1] ?? "").split(", ")
    expect(verbs.map((verb) => (verb === "2" ? "a count" : verb)).toSorted()).toEqual(known.toSorted())
    expect(page).toContain(effectKinds.map((kind) => `${kind}s`).join(", "))
  })

  it("has every command, and what it is over RESP", () => {
    const rows = rowsBelow("`mimosa trigger …` | `TRIGGER …` |")
    const ofCli = commands.flatMap(({ path }) => (path[0] === "trigger" ? [path[1]] : []))
    const files = ["apply", "diff"] // which have a section of their own
    expect(rows.flatMap(([command]) => codes(command).map((code) => code.split(" ")[0])).toSorted()).toEqual(
      ofCli.filter((name) => name !== undefined && !files.includes(name)).toSorted()
    )
    const ofServer = triggerCommands.commands.flatMap(({ subcommands = [] }) => subcommands.map(({ name }) => name))
    expect([...new Set(rows.flatMap(([, words]) => codes(words)))].toSorted()).toEqual(
      ofServer.map((name) => name.toUpperCase()).toSorted()
    )
  })

  it("has what takes a trigger out", () => {
    const { killsMax, timeoutsMax, errorsMax, withinMs } = intensityDefault
    expect(page).toContain(
      `More than ${killsMax} kills of its machine, ${timeoutsMax} timeouts or ${errorsMax} errors within ${withinMs / 1000} seconds`
    )
  })

  it("has the bounds of log streams", () => {
    const { linesMax, bytesMax, lineBytesMax, streamsMax } = logStreamLimitsDefault
    expect(rowsBelow("bound | value | at the bound").map(([, value]) => value)).toEqual([
      linesMax.toLocaleString("en"),
      `${bytesMax / 2 ** 20} MiB`,
      `${lineBytesMax / 1024} KiB`,
      `${streamsMax}`
    ])
  })

  it("has a session that the shell reads as it is shown", () => {
    const input = new ShellInput()
    const typed = [...(blocks("text")[0] ?? "").matchAll(/^(?:127\.0\.0\.1:6380|LUA)> (.*)$/gm)]
    expect(typed.map(([, line = ""]) => input.take(line)).filter((taken) => taken !== null)).toEqual([
      ["TRIGGER", "SET", "ended", "session:*", "ON_EXPIRE", 'cache.emit("ended", event.key)\n'],
      ["SET", "session:42", "ada", "EX", "1"],
      ["SUBSCRIBE", "ended"]
    ])
  })

  it("has JSON that is JSON", () => {
    for (const json of blocks("json")) expect(() => JSON.parse(json)).not.toThrow()
  })
})
