/**
 * The order of the rooms: an import goes to a lower tier, never to the same or a higher one; within a room it is free.
 * Read from the import lines alone. The table is that of docs/ARCHITECTURE.md.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { posix } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const tiers: Readonly<Record<string, number>> = {
  kernel: 0,
  telemetry: 0,
  storage: 1,
  actor: 1,
  testing: 1,
  cache: 2,
  sandbox: 2,
  webhooks: 2,
  scripting: 3,
  invalidation: 3,
  triggers: 4,
  coherence: 4,
  patterns: 4,
  server: 5,
  adapters: 5,
  top: 6 // cli/, and the files of src itself: App.ts, index.ts, promise.ts
}

/** Path below src → source text. */
type Sources = ReadonlyMap<string, string>

describe("the rooms of src", () => {
  const src = fileURLToPath(new URL("../src/", import.meta.url))
  const names = existsSync(src) ? (readdirSync(src, { recursive: true }) as Array<string>) : []
  const sources: Sources = new Map(
    names
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => name.endsWith(".ts"))
      .map((name) => [name, readFileSync(src + name, "utf8")])
  )
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))
  const doors = [...JSON.stringify([manifest.bin, manifest.exports]).matchAll(/dist\/([\w/]+)\.js"/g)]

  it("import downwards only", () => {
    expect(wrongArrows(sources)).toEqual([])
  })

  it("hold no file that nothing imports", () => {
    expect(deadFiles(sources, new Set(doors.map(([, door]) => `${door}.ts`)))).toEqual([])
  })

  it("each show their public face in an index.ts that only re-exports", () => {
    expect(wrongFaces(sources)).toEqual([])
  })
})

describe("the checks themselves", () => {
  const arrowsOf = (file: string, ...lines: ReadonlyArray<string>) => wrongArrows(new Map([[file, lines.join("\n")]]))

  it("accept what goes down, stays in its room, or is only a kernel type", () => {
    expect(
      arrowsOf("kernel/Keyspace.ts", 'import { LRUCache } from "lru-cache"', 'import { x } from "./Trie.ts"')
    ).toEqual([])
    expect(arrowsOf("server/resp/Parser.ts", 'import * as Cache from "../../cache/index.ts"')).toEqual([])
    expect(
      arrowsOf("sandbox/Vm.ts", 'import type { Entry } from "../kernel/index.ts"', 'import "../actor/a.ts"')
    ).toEqual([])
    expect(arrowsOf("cli/main.ts", 'import { App } from "../App.ts"')).toEqual([])
    expect(arrowsOf("index.ts", 'export * as Cache from "./cache/index.ts"')).toEqual([])
    expect(
      arrowsOf("cache/Cache.ts", '/**\n * import { a } from "../server/A.ts"\n */', '// import "../cli/main.ts"')
    ).toEqual([])
  })

  it.each([
    ["cache/Cache.ts", 'import { a } from "../triggers/index.ts"', "goes up"],
    ["cache/Cache.ts", 'import type { A } from "../triggers/index.ts"', "goes up"],
    ["cache/Cache.ts", 'import { a, type B } from "../webhooks/index.ts"', "goes sideways"],
    ["actor/Process.ts", 'export * from "../testing/index.ts"', "goes sideways"],
    ["server/Http.ts", 'const app = await import("../App.ts")', "goes up"],
    ["sandbox/Vm.ts", 'import "../kernel/index.ts"', "sandbox knows no kernel"],
    ["kernel/Wheel.ts", 'import { Effect } from "effect"', "kernel imports lru-cache alone"],
    ["kernel/Wheel.ts", 'import { now } from "node:perf_hooks"', "kernel imports lru-cache alone"],
    ["helpers/a.ts", "", "no room of the table"],
    ["cache/Cache.ts", 'import { a } from "../helpers/a.ts"', "no room of the table"],
    ["cache/Cache.ts", 'import { a } from "mimosa-cache/actor"', "imports its own package"]
  ])("refuse %s with %s: %s", (file, line, why) => {
    expect(arrowsOf(file, line)).toEqual([expect.stringContaining(why)])
  })

  it("read imports over several lines, and nothing that only looks like one", () => {
    expect(arrowsOf("cache/Cache.ts", "import {", "  a,", "  type B", '} from "../server/index.ts"')).toHaveLength(1)
    expect(arrowsOf("kernel/Trie.ts", "export interface Trie {", '  readonly from: "exact"', "}")).toEqual([])
    expect(arrowsOf("kernel/Trie.ts", 'export const words = ["from", "import"]')).toEqual([])
  })

  it("find files that nothing imports, but for the doors and the faces of the rooms", () => {
    const sources: Sources = new Map([
      ["index.ts", 'export * from "./cache/index.ts"'],
      ["cache/index.ts", 'export * as Cache from "./Cache.ts"'],
      ["cache/Cache.ts", ""],
      ["cache/Forgotten.ts", 'import "./Forgotten.ts"'],
      ["actor/index.ts", ""]
    ])
    expect(deadFiles(sources, new Set(["index.ts"]))).toEqual(["cache/Forgotten.ts"])
    expect(deadFiles(sources, new Set())).toEqual(["index.ts", "cache/Forgotten.ts"])
  })

  it("find rooms without a face, and faces that do more than re-export", () => {
    const face =
      '/** Why. */\nexport * as Pid from "./Pid.ts"\nexport {\n  a,\n  b\n} from "./B.ts"\nexport type { C } from "./C.ts"\n'
    expect(wrongFaces(new Map([["actor/index.ts", face]]))).toEqual([])
    expect(wrongFaces(new Map([["actor/Pid.ts", ""]]))).toEqual(["actor has no index.ts"])
    const busy = wrongFaces(new Map([["actor/index.ts", `${face}export const more = 1`]]))
    expect(busy).toEqual([expect.stringContaining("export const more = 1")])
  })
})

const wrongArrows = (sources: Sources): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  for (const [file, text] of sources) {
    const from = roomOf(file)
    if (tiers[from] === undefined) wrong.push(`${file}: ${from}/ is no room of the table`)
    for (const { line, specifier, isType } of importsOf(text)) {
      const why = whyWrong(from, file, specifier, isType)
      if (why !== undefined) wrong.push(`${file}: ${line}: ${why}`)
    }
  }
  return wrong
}

const whyWrong = (from: string, file: string, specifier: string, isType: boolean): string | undefined => {
  if (!specifier.startsWith(".")) {
    if (/^mimosa-cache(\/|$)/.test(specifier)) return "imports its own package; a relative path says which room"
    return from === "kernel" && specifier !== "lru-cache" ? "kernel imports lru-cache alone" : undefined
  }
  const to = roomOf(resolve(file, specifier))
  if (to === from || (to === "kernel" && isType)) return undefined
  if (from === "sandbox" && to === "kernel") return "sandbox knows no kernel"
  const [low, high] = [tiers[to], tiers[from]]
  if (low === undefined) return `${to}/ is no room of the table`
  if (high === undefined || low < high) return undefined
  return low === high ? "goes sideways" : "goes up"
}

const deadFiles = (sources: Sources, doors: ReadonlySet<string>): ReadonlyArray<string> => {
  const imported = new Set<string>()
  for (const [file, text] of sources) {
    for (const { specifier } of importsOf(text)) {
      const target = resolve(file, specifier)
      if (target !== file) imported.add(target)
    }
  }
  const isFace = (file: string) => /^[^/]+\/index\.ts$/.test(file)
  return [...sources.keys()].filter((file) => !imported.has(file) && !doors.has(file) && !isFace(file))
}

const wrongFaces = (sources: Sources): ReadonlyArray<string> => {
  const rooms = new Set([...sources.keys()].map(roomOf).filter((room) => room !== "top"))
  return [...rooms].flatMap((room) => {
    const face = sources.get(`${room}/index.ts`)
    if (face === undefined) return [`${room} has no index.ts`]
    const rest = withoutComments(face).replace(reExport, "").trim()
    return rest === "" ? [] : [`${room}/index.ts does more than re-export: ${rest}`]
  })
}

const roomOf = (file: string): string => {
  const [room] = file.split("/") as [string]
  return room === file || room === "cli" ? "top" : room
}

const resolve = (file: string, specifier: string): string => posix.join(posix.dirname(file), specifier)

const importsOf = (text: string) =>
  [...withoutComments(text).matchAll(importLine)].map(([line, type, from, bare, dynamic]) => ({
    line: line.replace(/\s+/g, " ").trim(),
    specifier: (from ?? bare ?? dynamic) as string,
    isType: type !== undefined
  }))

// A statement that begins its line and names only identifiers before `from`; a bare `import "x"`; an `import("x")` anywhere.
const importLine =
  /^(?:import|export)(\s+type)?\s[\w$*,{}\s]*?\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm
const reExport = /^export\s+(type\s+)?(\*(\s+as\s+\w+)?|\{[^}]*\})\s+from\s+"[^"]+";?$/gm
const withoutComments = (text: string): string => text.replace(/^\s*(\/\*[\s\S]*?\*\/|\/\/.*$)/gm, "")
