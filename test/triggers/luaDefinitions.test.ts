/** docs/lua/mimosa.lua, which editors read, against what triggers really have. */
import { readFileSync } from "node:fs"
import { expect, it } from "vitest"
import { toBytes } from "../../src/cache/index.ts"
import { causeNames } from "../../src/kernel/index.ts"
import { LuaVm } from "../../src/sandbox/index.ts"
import { makeCacheApi, Run } from "../../src/triggers/CacheApi.ts"
import { eventFields } from "../../src/triggers/EventFields.ts"
import { machineParts } from "../../src/triggers/Machines.ts"
import { triggerEventNames } from "../../src/triggers/Trigger.ts"

const text = readFileSync(new URL("../../docs/lua/mimosa.lua", import.meta.url), "utf8")

/** What a pattern finds, in its order; of a block that begins with a line, up to the next blank one. */
const all = (pattern: RegExp, block = text): string[] => [...block.matchAll(pattern)].map(([, name]) => name as string)

const blockFrom = (line: string): string => {
  const [, block = ""] = text.split(`${line}\n`)
  return block.slice(0, block.indexOf("\n\n"))
}

it("has every field of the event, and no other", () => {
  expect(all(/^---@field (\w+) /gm, blockFrom("---@class mimosa.Event"))).toEqual(eventFields)
})

it("has every function of cache, and no other", () => {
  const functions = Object.keys(makeCacheApi(new Run("test")))
  expect(all(/^function cache\.(\w+)\(/gm).toSorted()).toEqual(functions.toSorted())
  expect(text).toContain("\ncachee = cache\n")
})

it("has every event, and every cause that an event can have", () => {
  expect(all(/^---\| "(\w+)" #/gm, blockFrom("---@alias mimosa.EventType"))).toEqual(triggerEventNames)
  const seen = causeNames.filter((name) => name !== "beforeWrite" && name !== "beforeDelete" && name !== "flushKey")
  const [, said = ""] = /cause string Why: (.*)\.\n/.exec(text) ?? []
  expect(said.split(/, | or /)).toEqual(expect.arrayContaining([...seen]))
})

it("says what each function takes, parameter by parameter", () => {
  for (const block of text.split("\n\n")) {
    const parameters = /^function cache\.\w+\((.*)\) end$/m.exec(block)?.[1]
    if (parameters === undefined) continue
    expect(all(/^---@param (\w+)\??/gm, block)).toEqual(parameters.split(", "))
  }
})

it("is Lua", () => {
  const machine = new LuaVm(machineParts(new Run("test"), () => 0))
  expect(machine.define("mimosa", toBytes(text))).toMatchObject({ ok: true })
})
