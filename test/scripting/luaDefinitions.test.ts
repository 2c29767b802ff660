/** docs/lua/mimosa-scripts.lua, which editors read, against what scripts really have. */
import { readFileSync } from "node:fs"
import { expect, it } from "vitest"
import { makeCacheModule } from "../../src/scripting/cacheModule.ts"
import type { HttpRequester } from "../../src/scripting/HttpRequester.ts"
import { makeHttpModule } from "../../src/scripting/httpModule.ts"
import { makeJsonModule } from "../../src/scripting/jsonModule.ts"
import { makeModules, running } from "./hostModules.ts"

const text = readFileSync(new URL("../../docs/lua/mimosa-scripts.lua", import.meta.url), "utf8")

/** What a pattern finds, in its order. */
const all = (pattern: RegExp, block = text): string[] => [...block.matchAll(pattern)].map(([, name]) => name as string)

it.each([
  ["cache", makeCacheModule({ run: running(null, { ms: 0 }, []) })],
  ["json", makeJsonModule()],
  ["http", makeHttpModule({ run: running(null, { ms: 0 }, []) }, {} as HttpRequester, 0)] // it is not called
])("has every field of %s, and no other", (name, table) => {
  const block = text.slice(text.lastIndexOf("---@class", text.indexOf(`\n${name} = {}`)))
  const fields = all(/^---@field (\w+) /gm, block.slice(0, block.indexOf("\n\n")))
  const functions = all(new RegExp(`^function ${name}\\.(\\w+)\\(`, "gm"))
  expect([...fields, ...functions].toSorted()).toEqual(Object.keys(table).toSorted())
})

it("says what each function takes, parameter by parameter, and what it returns", () => {
  for (const block of text.split("\n\n")) {
    const parameters = /^function \w+\.\w+\((.*)\) end$/m.exec(block)?.[1]
    if (parameters === undefined) continue
    expect(all(/^---@param (\w+)\??/gm, block)).toEqual(parameters.split(", "))
    expect(all(/^---@return (\S+)/gm, block)).toHaveLength(1)
  }
})

it("is Lua", () => {
  expect(makeModules().vm.define("mimosa-scripts", text)).toMatchObject({ ok: true })
})
