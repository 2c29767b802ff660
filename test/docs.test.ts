/**
 * The pages of docs/ and the README against the code: every error that a client can meet is on its page, snippets compile and print
 * what stands below them, consoles go as they say, and as many behaviours are ported from OTP as the page of
 * differences counts.
 */
import { spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import * as actor from "../src/actor/index.ts"
import * as cacheErrors from "../src/cache/CacheError.ts"
import { keyspaceLimitsDefault, tenantBytesMaxDefault, tenantsMaxDefault } from "../src/cache/index.ts"
import { type TenantLimits, tenantLimitRanges, tenantLimitsDefault } from "../src/cache/Tenant.ts"
import { commands } from "../src/cli/commands.ts"
import type { CoherenceStatus } from "../src/coherence/index.ts"
import * as mimosa from "../src/index.ts"
import { checkedSettings, unknownSetting } from "../src/Settings.ts"
import { makeCacheModule } from "../src/scripting/cacheModule.ts"
import { makeJsonModule } from "../src/scripting/jsonModule.ts"
import * as scriptErrors from "../src/scripting/ScriptError.ts"
import { coherence } from "../src/server/commands/coherence.ts"
import { scripts } from "../src/server/commands/script.ts"
import { tenants } from "../src/server/commands/tenant.ts"
import { triggers } from "../src/server/commands/trigger.ts"
import { spellings } from "../src/server/EngineError.ts"
import { tenantRoutes } from "../src/server/HttpTenants.ts"
import { RespError } from "../src/server/RespError.ts"
import { metric } from "../src/telemetry/index.ts"
import { makeCacheApi, Run } from "../src/triggers/CacheApi.ts"
import { eventFields } from "../src/triggers/EventFields.ts"
import { cascadeLimitsDefault, intensityDefault } from "../src/triggers/index.ts"
import { triggerEventNames } from "../src/triggers/Trigger.ts"
import * as triggerErrors from "../src/triggers/TriggerError.ts"
import { effectKinds } from "../src/triggers/TriggerLog.ts"
import { failureKinds, skipKinds } from "../src/triggers/TriggerStats.ts"
import { describeBuilt, mimosa as runMimosa, type Served, serve, temporaryFolder } from "./cli/Mimosa.ts"
import { running } from "./scripting/hostModules.ts"
import { endWithUs, path as pathOf } from "./servers/Binary.ts"
import { describeWith } from "./servers/describeWith.ts"
import { eventually } from "./support/eventually.ts"
import { complaints, printedBy, programOf } from "./support/Snippets.ts"

const timeoutMs = 60_000 // of what compiles a page, or starts a server

const page = readFileSync(new URL("../docs/errors.md", import.meta.url), "utf8").replaceAll("\\|", "|")

/** The text with … in the place of what differs. */
const shown = (error: string | ((...args: never[]) => string)): string => {
  if (typeof error === "string") return error
  const args = error === RespError.unknownCommand ? [["…", "…"]] : Array(error.length).fill("…")
  return error(...(args as never[])).trim()
}

it.each(Object.entries(RespError))("docs/errors.md has the answer %s", (_name, error) => {
  expect(page).toContain(`| \`${shown(error)}\` |`)
})

const errors = Object.entries({ ...mimosa, ...triggerErrors, ...scriptErrors, ...cacheErrors }).filter(
  ([, value]) => (value as { prototype?: unknown }).prototype instanceof Error
)

it.each(errors.map(([name]) => name))("docs/errors.md has the library's %s", (name) => {
  expect(page).toContain(`| \`${name}\` |`)
})

it.each([...failureKinds, ...skipKinds.map((kind) => `skipped:${kind}`), ...effectKinds])(
  "docs/errors.md has %s of TRIGGER LOG",
  (kind) => {
    expect(page).toMatch(new RegExp(`^\\|[^|]*\`${kind}\`[^|]*\\|`, "m"))
  }
)

it.each(["README.md", ...pagesIn("docs"), ...pagesIn("docs/features")])("%s has links that lead somewhere", (name) => {
  const text = readFileSync(inRoot(name), "utf8")
  const targets = [...text.matchAll(/\]\(([^()\s]+)\)/g)].map(([, target]) => target as string)
  const missing = targets.filter((target) => {
    if (/^https?:/.test(target)) return false
    const [file = "", anchor] = target.split("#")
    const path = file === "" ? inRoot(name) : join(dirname(inRoot(name)), file)
    return !existsSync(path) || (anchor !== undefined && !anchorsOf(readFileSync(path, "utf8")).includes(anchor))
  })
  expect(missing).toEqual([])
})

describe("README.md", () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")

  it("names every event, field of an event, function of cache and TRIGGER command", () => {
    const [container] = triggers.commands
    const names = [
      ...triggerEventNames,
      ...(container?.subcommands ?? []).map(({ name }) => `TRIGGER ${name.toUpperCase()}`),
      ...Object.keys(makeCacheApi(new Run(""))).map((name) => `${name}(`)
    ]
    const said = readme.replaceAll("DEL|REMOVE", "DEL|TRIGGER REMOVE")
    expect(names.filter((name) => !said.includes(name))).toEqual([])
    const [, fields = ""] = /\*\*`event`\*\* has `([^`]*)`/.exec(readme) ?? []
    expect(fields.split(/\s+/)).toEqual(eventFields)
  })

  it("has the options of mimosa serve with their variables and defaults", () => {
    const rows = [...readme.matchAll(/^\| `--([\w-]+)` \| (?:`(\w+)`)? ?\| (?:`(\S+)`|none|off|by the terminal) \|/gm)]
    const options = Object.values(commands.find(({ path }) => path.join(" ") === "serve")?.options ?? {})
    const isInWords = ["log-format"]
    const facts = options.map(({ name, variable, byDefault }) => [
      name,
      variable ?? undefined,
      byDefault === "" || isInWords.includes(name) ? undefined : byDefault
    ])
    expect(rows.map(([, ...cells]) => cells).sort()).toEqual(facts.sort())
  })

  it("has the settings of the library with their defaults and ranges", () => {
    const rows = [...readme.matchAll(/^\| ((?:`[\w.]+`(?:, )?)+) \| ([\d, ]+) \| (\d+) \| (\d*) ?\|/gm)]
    const said = rows.flatMap(([, names = "", defaults = "", from, to]) => {
      const values = defaults.split(", ").map(Number)
      return names.split(", ").map((name, at) => [name.slice(1, -1), values[at], Number(from), Number(to)] as const)
    })
    expect(said.length).toBe(17)
    const isTaken = (name: string, value: number) => {
      const [group, inner] = name.split(".") as [string, string | undefined]
      const given = { [group]: inner === undefined ? value : { [inner]: value } }
      return unknownSetting(given) === undefined && !(checkedSettings(given) instanceof RangeError)
    }
    for (const [name, , from, to] of said) {
      expect([name, isTaken(name, from), isTaken(name, from - 1)]).toEqual([name, true, false])
      expect([name, isTaken(name, to || 2 ** 50), to !== 0 && isTaken(name, to + 1)]).toEqual([name, true, false])
    }
    const known = Object.entries({
      ...keyspaceLimitsDefault,
      tenantBytesMax: tenantBytesMaxDefault,
      "tenants.tenantsMax": tenantsMaxDefault,
      ...within("cascade", cascadeLimitsDefault),
      ...within("intensity", intensityDefault)
    })
    const defaults = said.map(([name, value]) => [name, value])
    expect(defaults).toEqual(expect.arrayContaining(known))
  })

  it("calls commands of mimosa by their names", () => {
    const known = new Set(commands.map(({ path }) => path[0]))
    const called = [...readme.matchAll(/\bmimosa ([a-z]+)\b(?=[^\n]*`)|npx mimosa ([a-z]+)/g)]
    const names = called.map(([, quoted, typed]) => quoted ?? typed)
    expect(names.filter((name) => !known.has(name as string))).toEqual([])
    expect(names.length).toBeGreaterThan(5)
  })

  it("has snippets that the compiler accepts, and that print what stands below them", {
    timeout: 3 * timeoutMs // each compiles as a program of its own
  }, async () => {
    const blocks = [...readme.matchAll(/^```ts\n[\s\S]*?^```\n\n```text\n[\s\S]*?^```$/gm)].map(([block]) => block)
    expect(blocks.length).toBe([...readme.matchAll(/^```ts$/gm)].length)
    await mkdir(inRoot(".cache"), { recursive: true })
    for (const [at, block] of blocks.entries()) {
      const snippet = `.cache/readme-${process.pid}-${at}.md`
      await writeFile(inRoot(snippet), block)
      try {
        const [complained, { did, said }] = await Promise.all([complaints(snippet), printedBy(snippet)])
        expect(complained).toBe("")
        expect(did).toEqual(said)
      } finally {
        await rm(inRoot(snippet))
      }
    }
  })

  describeBuilt("with a server", () => {
    describeWith(["redis-cli", "curl"])("and its clients", () => {
      it.each([
        ["## A first session", "## The library"],
        ["## Tenants", "## What is promised"]
      ])("goes as it says from %s to %s", { timeout: timeoutMs }, async (from, to) => {
        await goesAsItSays(readme.slice(readme.indexOf(`\n${from}`), readme.indexOf(`\n${to}`)))
      })
    })
  })
})

const itPrintsWhatItSays = (page: string): void =>
  it("has a program that the compiler accepts, and that prints what stands below it", {
    timeout: timeoutMs
  }, async () => {
    expect(await complaints(page)).toBe("")
    const { did, said } = await printedBy(page)
    expect(did).toEqual(said)
  })

/** The settings of a group by their whole names. */
const within = (group: string, settings: object): { readonly [name: string]: unknown } =>
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [`${group}.${name}`, value]))

/**
 * Types what the consoles of a page say, one after the other: at one server, or, on a page about several, at two of one
 * namespace.
 */
const goesAsItSays = async (page: string, count: 1 | 2 = 1): Promise<void> => {
  const steps = stepsOf(page)
  expect(steps).not.toEqual([])
  const folder = await temporaryFolder()
  const servers: Served[] = []
  const session = new Session(servers)
  try {
    const sharing = count === 1 ? [] : ["--namespace", `docs_${process.pid}`]
    for (let at = 0; at < count; at++) servers.push(await serve(join(folder.path, `${at}`), sharing))
    for (const served of servers) await eventually(async () => (await membersOf(served)) === count - 1)
    for (const step of steps) {
      expect([step.command, ...(await session.run(step))]).toEqual([step.command, ...step.output])
    }
  } finally {
    session.end()
    for (const served of servers) await served.stop()
    await folder.remove()
  }
}

/** How many other instances it sees. */
const membersOf = async ({ httpPort }: Served): Promise<number> => {
  const response = await fetch(`http://127.0.0.1:${httpPort}/v1/coherence`)
  return response.ok ? ((await response.json()) as CoherenceStatus).members.length : 0
}

interface Step {
  readonly command: string
  /** What stands below it, up to the next one. */
  readonly output: readonly string[]
}

/** The commands of a page's consoles. */
const stepsOf = (page: string): Step[] => {
  const consoles = [...page.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, lines]) => lines as string)
  return consoles.flatMap((lines) =>
    lines
      .split(/^\$ /m)
      .slice(1)
      .map((step) => {
        const [command = "", ...output] = step.trimEnd().split("\n")
        return { command, output: output.map(withoutTime) }
      })
  )
}

/** Without what differs each time. */
const withoutTime = (line: string): string =>
  line
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/, "<time>")
    .replace(/"atMs":\d+/g, '"atMs":<time>')
    .replace(/\b[0-9a-f]{14}\b/g, "<instance>")
    .replace(/written by <instance> with version \d+/g, "written by <instance> with version <number>")
    .replace(token, "$1<secret>")

/** A tenant's, of which a page shows the beginning: `mt_tenant_123_…`. */
const token = /(mt_\w+?_)(?:…|[\w-]{43}(?![\w-]))/

/** Somebody at a terminal, who types what a page says. */
class Session {
  private readonly inBackground: ReturnType<typeof spawn>[] = []
  private lines: AsyncIterator<string> | undefined
  /** The last that was shown. */
  private token = ""

  /** Pages call them by their default ports, the second one's by 10 more: 6380 and 6390. */
  constructor(private readonly servers: readonly Served[]) {}

  /** What appears until the next command, of this one and of what was sent to the background before. */
  async run({ command, output }: Step): Promise<string[]> {
    if (command.startsWith("npx mimosa ")) return this.mimosa(command.slice("npx mimosa ".length).split(" "))
    const isInBackground = command.endsWith(" &")
    const shell = spawn("sh", ["-c", this.typed(command), pathOf("redis-cli")], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    endWithUs(shell)
    const lines = createInterface({ input: shell.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    if (isInBackground) {
      this.inBackground.push(shell)
      this.lines = lines
      return next(lines, output.length)
    }
    const own = (await next(lines, Number.POSITIVE_INFINITY)).map((line) => {
      this.token = token.exec(line)?.[0] ?? this.token
      return withoutTime(line)
    })
    return this.lines === undefined ? own : [...own, ...(await next(this.lines, output.length - own.length))]
  }

  end(): void {
    for (const shell of this.inBackground) shell.kill()
  }

  private async mimosa(words: readonly string[]): Promise<string[]> {
    const { stdout } = await runMimosa(words, { env: { MIMOSA_PORT: `${this.servers[0]?.port}` } })
    return stdout.trimEnd().split("\n").map(withoutTime)
  }

  /** On the ports of these servers, and with answers as they are shown on a terminal. */
  private typed(command: string): string {
    const words = command
      .replace(/ &$/, "")
      .replace(/redis-cli -p 63(\d)0/, (_, digit) => `"$0" --no-raw -p ${this.meant(digit).port}`)
      .replace(/127\.0\.0\.1:63(\d)1/, (_, digit) => `127.0.0.1:${this.meant(digit).httpPort}`)
      .replace(token, this.token)
    return `exec ${words}`
  }

  private meant(digit: string): Served {
    const served = this.servers[Number(digit) - 8]
    if (served === undefined) throw new Error(`no server of the page has a port 63${digit}.`)
    return served
  }
}

const next = async (lines: AsyncIterator<string>, count: number): Promise<string[]> => {
  const read: string[] = []
  while (read.length < count) {
    const line = await lines.next()
    if (line.done === true) break
    read.push(line.value)
  }
  return read
}

function pagesIn(folder: string): string[] {
  return readdirSync(inRoot(folder))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name}`)
}

/** The anchors of a page's headings. */
const anchorsOf = (page: string): string[] =>
  [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-")
  )

function inRoot(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url))
}

describe("docs/features/scripting.md", () => {
  const page = "docs/features/scripting.md"
  const text = readFileSync(inRoot(page), "utf8")

  it("has the limits of tenants with their defaults and ranges", () => {
    const rows = [...text.matchAll(/^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|/gm)]
    const said = rows.map(([, name = "", ...numbers]) => [
      name.replace(/_./g, ([, c]) => (c as string).toUpperCase()),
      ...numbers.map(Number)
    ])
    const facts = Object.entries(tenantLimitRanges).map(([name, range]) => [
      name,
      tenantLimitsDefault[name as keyof TenantLimits],
      ...range
    ])
    expect(said).toEqual(facts)
  })

  it("names every command of tenants and scripts, and every route", () => {
    const [container] = tenants.commands
    const names = [
      ...(container?.subcommands ?? []).map(({ name }) => `TENANT ${name.toUpperCase()}`),
      ...scripts.commands.map(({ name }) => `${name.toUpperCase()} <tenant>`)
    ]
    expect(names.filter((name) => !text.includes(name))).toEqual([])
    const routes = [...text.matchAll(/^\| `([A-Z`, ]+) (\/v1\/tenants\S*)` \|/gm)].flatMap(([, methods = "", path]) =>
      methods.split("`, `").map((method) => `${method} ${path}`)
    )
    expect(routes.toSorted()).toEqual(tenantRoutes.map(({ method, path }) => `${method} ${path}`).toSorted())
  })

  it("names every function that scripts have, and every error of a run with its code and status", () => {
    const functions = [
      ...Object.keys(makeCacheModule({ run: running(null, { ms: 0 }, []) })).map((name) => `cache.${name}(`),
      ...Object.keys(makeJsonModule()).map((name) => `json.${name}`)
    ]
    expect(functions.filter((name) => !text.includes(`\`${name}`))).toEqual([])
    const rows = [...text.matchAll(/^\| (`\w+`(?:, `\w+`)*) \| `([A-Z]+)`, (\d+) \|/gm)]
    const said = rows.flatMap(([, names = "", code, status]) =>
      names.split(", ").map((name) => [name.slice(1, -1), { code, status: Number(status) }] as const)
    )
    expect(said.length).toBeGreaterThan(8)
    for (const [name, spelling] of said) expect([name, spellings[name]]).toEqual([name, spelling])
  })

  itPrintsWhatItSays(page)

  describeBuilt("with a server", () => {
    describeWith(["redis-cli", "curl"])("and its clients", () => {
      it("goes as it says", { timeout: timeoutMs }, async () => {
        await goesAsItSays(text)
      })
    })
  })
})

describe("docs/features/coherence.md", () => {
  const page = "docs/features/coherence.md"
  const text = readFileSync(inRoot(page), "utf8")

  it("names every command and every metric of instances that share their keys", () => {
    const names = coherence.commands.flatMap(({ name, subcommands = [] }) =>
      subcommands.length === 0
        ? [name.toUpperCase()]
        : subcommands.map((each) => `${name.toUpperCase()} ${each.name.toUpperCase()}`)
    )
    expect(names.filter((name) => !text.includes(`\`${name}`))).toEqual([])
    const metrics = Object.values(metric).filter(({ name }) => name.startsWith("mimosa_coherence_"))
    expect(metrics.filter(({ name }) => !text.includes(`\`${name}\``)).map(({ name }) => name)).toEqual([])
  })

  it("has the settings by their names, with the options of mimosa serve that set them", () => {
    const rows = [...text.matchAll(/^\| `(\w+(?:\.\w+)*)` \| (?:`--([\w-]+)`|library only) \|/gm)]
    const options = Object.values(commands.find(({ path }) => path.join(" ") === "serve")?.options ?? {})
    const known = options.map(({ name }) => name)
    expect(rows.length).toBeGreaterThan(10)
    for (const [, name = "", option] of rows) {
      const given = name.split(".").reduceRight<unknown>((value, part) => ({ [part]: value }), undefined)
      expect([name, unknownSetting(given as object)?.message]).toEqual([name, undefined])
      if (option !== undefined) expect(known).toContain(option)
    }
    const all = ["namespace", "coherence", "peers", "region", ...known.filter((name) => name.startsWith("mesh-"))]
    expect(all.filter((name) => !rows.some(([, , option]) => option === name))).toEqual([])
  })

  itPrintsWhatItSays(page)

  describeBuilt("with two servers", () => {
    describeWith(["redis-cli", "curl"])("and their clients", () => {
      it("goes as it says", { timeout: timeoutMs }, async () => {
        await goesAsItSays(text, 2)
      })
    })
  })
})

describe("docs/features/actors.md", () => {
  const guide = "docs/features/actors.md"

  it("has snippets that the compiler accepts, as one program", { timeout: timeoutMs }, async () => {
    expect(await complaints(guide)).toBe("")
  })

  it("has snippets that print what stands below them", { timeout: timeoutMs }, async () => {
    const { did, said } = await printedBy(guide)
    expect(did).toEqual(said)
    expect(said.filter(({ output }) => output !== "").length).toBeGreaterThan(20)
  })

  it("names for those who know Elixir only what there is", () => {
    const page = readFileSync(new URL(`../${guide}`, import.meta.url), "utf8")
    const table = page.slice(page.indexOf("| in Elixir | here |"))
    const here = [...table.matchAll(/^\|.*?[^\\]\|(.*)\|$/gm)].map(([, cell]) => cell).join("\n")
    const modules = new Map<string, object>(Object.entries(actor))
    const named = [...here.matchAll(/\b([A-Z]\w+)\.([a-z]\w+)/g)] as unknown as [string, string, string][]
    const missing = named.filter(
      ([, module, name]) => modules.has(module) && !(name in (modules.get(module) as object))
    )
    expect(missing.map(([whole]) => whole)).toEqual([])
    expect(named.length).toBeGreaterThan(30)
  })
})

it("a page's snippets keep its lines, and know what each of them says that it prints", () => {
  const page = [
    "Prose.",
    "```ts",
    'import { x } from "mimosa-cache/actor"',
    "```",
    "```text",
    "hello",
    "```",
    "```ts",
    "```"
  ]
  const { printed, source } = programOf(page.join("\n"), new Map([["mimosa-cache/actor", "../actor.ts"]]))
  expect(source.split("\n")[2]).toBe('import { x } from "../actor.ts"')
  expect(printed).toEqual([
    { line: 4, output: "hello\n" },
    { line: 9, output: "" }
  ])
})

describe("docs/features/actors-differences.md", () => {
  const differences = readFileSync(new URL("../docs/features/actors-differences.md", import.meta.url), "utf8")
  const rows = [...differences.matchAll(/^\| (?:`(\w+)`|all) \| (\d+) \|/gm)].map(([, name, count]) => [
    name ?? "all",
    Number(count)
  ])

  it("counts the behaviours of each module that are ported, and there are at least 150", () => {
    const ported = portedBehaviours()
    const all = [...ported.values()].reduce((sum, count) => sum + count, 0)
    expect(Object.fromEntries(rows)).toEqual({ ...Object.fromEntries(ported), all })
    expect(all).toBeGreaterThanOrEqual(150)
  })
})

/**
 * Sentences in test/actor that end with the letters of their origins, by module: that of the `describe` around them if there is one of its
 * name, else that of the file.
 */
function portedBehaviours(): ReadonlyMap<string, number> {
  const isModule = (name: string) => existsSync(new URL(`../src/actor/${name}.ts`, import.meta.url))
  const folder = new URL("actor/", import.meta.url)
  const counts = new Map<string, number>()
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".test.ts"))) {
    let group = ""
    const source = readFileSync(new URL(file, folder), "utf8")
    for (const [, title, origin] of source.matchAll(/^describe\("([^"]*)"|\(((?:[A-Z], )*[A-Z])\)["`],/gm)) {
      if (title !== undefined) group = title
      if (origin === undefined) continue
      const module = isModule(group) ? group : file.replace(".test.ts", "")
      counts.set(module, (counts.get(module) ?? 0) + 1)
    }
  }
  return counts
}
