/** The metered Lua, taken apart: nothing in it runs on without the meter, and it can ask for nothing but what we know. */
import { readFileSync } from "node:fs"
import { beforeAll, describe, expect, it } from "vitest"
import loadWabt from "wabt"
// @ts-expect-error a build tool in plain JavaScript
import { disassemble } from "../../.tools/wasm.mjs"
import { makeImports } from "../../src/sandbox/internal/imports.ts"
import { hostFunctionsMax } from "../../src/sandbox/internal/layout.ts"

let lua: Array<string>
let shim: Array<string>

beforeAll(async () => {
  const wabt = await loadWabt()
  const lines = (name: string): Array<string> =>
    disassemble(wabt, readFileSync(new URL(`../../dist/wasm/${name}`, import.meta.url))).split("\n")
  lua = lines("lua.wasm")
  shim = lines("shim.wasm")
})

/** The instructions after this line. */
const after = (lines: ReadonlyArray<string>, index: number, count: number): ReadonlyArray<string> =>
  lines.slice(index + 1, index + 1 + count).map((line) => line.trim())

describe("the metered Lua", () => {
  it("takes a unit of fuel at the head of every loop and asks the host when none is left", () => {
    const loops = lua.flatMap((line, index) => (/^\s*loop\b/.test(line) ? [index] : []))
    expect(loops.length).toBeGreaterThan(600)
    const exhausted = /^ {2}\(import "meter" "exhausted" \(func (\S+) /m.exec(lua.join("\n"))?.[1]
    const fuel = /^ {2}\(export "fuel" \(global (\S+)\)\)/m.exec(lua.join("\n"))?.[1]
    expect(exhausted && fuel).toBeTruthy()
    const check = [
      `global.get ${fuel}`,
      "i32.const 1",
      "i32.sub",
      `global.set ${fuel}`,
      `global.get ${fuel}`,
      "i32.const 0",
      "i32.lt_s",
      expect.stringMatching(/^if\b/),
      `call ${exhausted}`,
      "end"
    ]
    for (const loop of loops) expect(after(lua, loop, check.length)).toEqual(check)
  })

  it("copies and fills memory in bulk only where the bytes are paid for", () => {
    const bulk = lua.flatMap((line, index) => (/^\s*memory\.(copy|fill)\b/.test(line) ? [index] : []))
    expect(bulk).toHaveLength(2)
    for (const index of bulk) {
      const start = lua.findLastIndex((line, at) => at < index && line.startsWith("  (func"))
      const body = lua.slice(start + 1, index).map((line) => line.trim())
      expect(body.slice(0, 3)).toEqual(["local.get $p2", "i32.const 5", "i32.shr_u"])
      expect(body[3]).toMatch(/^call /)
    }
  })

  it("imports exactly what the host gives, by name", () => {
    const imports = lua.flatMap((line) => {
      const found = /^ {2}\(import "([^"]+)" "([^"]+)" \((\w+)/.exec(line)
      return found === null ? [] : [`${found[1]}.${found[2]} ${found[3]}`]
    })
    const given = Object.entries(
      makeImports({ lua: {} as never, cells: new Int32Array(), exhausted() {}, threw() {} })
    ).flatMap(([module, body]) => Object.keys(body).map((name) => `${module}.${name} func`))
    expect(imports).toHaveLength(28) // the 27 of wasmoon's build, and the meter
    expect(imports.sort()).toEqual(given.sort())
  })

  it("never grows its memory", () => {
    expect(lua.filter((line) => line.includes("memory.grow"))).toEqual([])
  })
})

describe("the shim", () => {
  it("imports nothing but Lua itself and one function of the host", () => {
    const imports = shim.flatMap((line) => /^ {2}\(import "(\w+)" "(\w+)"/.exec(line)?.slice(1).join(".") ?? [])
    expect(imports.filter((name) => !name.startsWith("glue."))).toEqual(["host.call"])
    const taken = imports.map((name) => name.replace("glue.", ""))
    expect(taken.filter((name) => /load|dump|open|state|debug|upvaluejoin/.test(name))).toEqual([])
  })

  it("has an entry for each host function", () => {
    const entries = shim.filter((line) => /\(export "host\d+"/.test(line))
    expect(entries).toHaveLength(hostFunctionsMax)
  })
})
