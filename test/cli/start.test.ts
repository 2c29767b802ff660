/**
 * What a command loads before it does anything. Effect takes longer to load than a person notices, and longer than all that
 * a client does: only `serve` may.
 */
import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const folder = fileURLToPath(new URL("../../src/cli/", import.meta.url))

/** Everything that loading a file loads: files of ours, and packages. Imports of types are none. */
const loadedBy = (file: string, seen = new Set<string>()): Set<string> => {
  if (seen.has(file)) return seen
  seen.add(file)
  for (const [, names, specifier] of readFileSync(file, "utf8").matchAll(importLine)) {
    const isTypesOnly = (names as string).startsWith("type ") || /^\{(\s*type [^,}]*,?)+\s*\}/.test(names as string)
    if (isTypesOnly) continue
    const target = specifier as string
    if (target.startsWith(".")) loadedBy(join(dirname(file), target), seen)
    else seen.add(target)
  }
  return seen
}

const importLine = /^(?:import|export)\s+([^"]*?)\s*from\s+"([^"]+)"/gm

describe("loading", () => {
  it.each(["main", "ping", "top", "trigger", "logs", "shell"])("%s.ts loads no Effect and no Redis client", (name) => {
    const packages = [...loadedBy(join(folder, `${name}.ts`))].filter((loaded) => !/^[/]|^node:/.test(loaded))
    expect(packages).toEqual([])
  })

  it("is looked at by a test that sees Effect where it is loaded", () => {
    expect([...loadedBy(join(folder, "serve.ts"))]).toContain("effect")
  })
})
