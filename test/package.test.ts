/** The package as npm would publish it: packed once from dist, and looked at from outside. */
import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { publint } from "publint"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))
const run = promisify(execFile)

const isBuilt = existsSync(join(root, "dist/.inputs"))
/** As strict as a user can be: no ambient types, and every declaration checked. */
const compilerOptions = {
  target: "ES2022",
  lib: ["ES2022", "DOM"], // effect's declarations need DOM's AbortSignal and ReadableStream
  module: "NodeNext",
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  outDir: "out",
  rootDir: "."
}

const describeBuilt = isBuilt || process.env.CI ? describe : describe.skip
const why = isBuilt ? "" : " (left out: dist is not built; npm run build)"

describeBuilt(`the packed package${why}`, () => {
  let folder: string
  let tarball: string
  let files: ReadonlyArray<{ readonly path: string; readonly mode: number }>

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "mimosa-pack-"))
    // --ignore-scripts: what is packed is the dist that stands here, and only npm's JSON is printed.
    const args = ["pack", "--json", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder]
    const [packed] = JSON.parse((await run("npm", args, { cwd: root })).stdout)
    tarball = join(folder, packed.filename)
    files = packed.files
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it("carries the metered Lua, so that its users need no build tool", () => {
    const paths = files.map((file) => file.path)
    expect(paths).toEqual(expect.arrayContaining(["dist/wasm/lua.wasm", "dist/wasm/shim.wasm", "LICENSE", "README.md"]))
  })

  it("carries no source, no test and no other file of the workshop", () => {
    const allowed = /^(package\.json|README\.md|LICENSE|docs\/.*|dist\/.*(\.js|\.js\.map|\.d\.ts|\.wasm))$/
    expect(files.map((file) => file.path).filter((path) => !allowed.test(path))).toEqual([])
  })

  it("has a command that a shell can run", () => {
    const command = files.find((file) => file.path === "dist/cli/main.js")
    expect((command?.mode ?? 0) & 0o111).toBe(0o111)
    expect(readFileSync(join(root, "dist/cli/main.js"), "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/)
  })

  it("is what publint calls well-formed", async () => {
    const { buffer, byteOffset, byteLength } = await readFile(tarball)
    const { messages } = await publint({
      pack: { tarball: buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer }
    })
    expect(messages).toEqual([])
  })

  it("has types that resolve from every door (attw, for ESM)", async () => {
    const attw = [join(root, "node_modules/@arethetypeswrong/cli/dist/index.js"), tarball, "--profile", "esm-only"]
    const problems = await run(process.execPath, attw, { cwd: root }).then(
      () => "none",
      (error) => error.stdout
    )
    expect(problems).toBe("none")
  })

  describe("in a project that has only effect beside it", () => {
    let project: string

    beforeAll(async () => {
      project = join(folder, "outside")
      const modules = join(project, "node_modules")
      await mkdir(join(modules, "mimosa-cache"), { recursive: true })
      await run("tar", ["-xzf", tarball, "-C", join(modules, "mimosa-cache"), "--strip-components=1"])
      // By its real path effect finds its own dependencies; from the project nothing but effect can be seen.
      await symlink(join(root, "node_modules/effect"), join(modules, "effect"), "junction")
      await writeFile(join(project, "package.json"), JSON.stringify({ name: "outside", type: "module" }))
      await writeFile(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }))
      await writeFile(join(project, "counter.ts"), counterProgram)
      await writeFile(join(project, "whole.js"), 'import "mimosa-cache"')
    })

    const node = (file: string) => run(process.execPath, [join(project, file)], { cwd: project })

    it("type-checks strictly against mimosa-cache/actor and mimosa-cache/testing, their declarations and effect's included", async () => {
      const tsc = [join(root, "node_modules/typescript/bin/tsc"), "-p", project]
      const problems = await run(process.execPath, tsc, { cwd: project }).then(
        () => "none",
        (error) => error.stdout
      )
      expect(problems).toBe("none")
    })

    it("runs with plain node", async () => {
      expect((await node("out/counter.js")).stdout.split("\n")).toEqual([
        "2 clicks",
        "gone: crash: Error: overflow",
        "0 clicks, 1 restart",
        "refused: BadRequest",
        "an hour at once: 3600000 ms",
        ""
      ])
    })

    it("needs nothing else for that, and the whole package does", async () => {
      expect(await readdir(join(project, "node_modules"))).toEqual(["effect", "mimosa-cache"])
      await expect(node("whole.js")).rejects.toMatchObject({ stderr: expect.stringMatching(/ERR_MODULE_NOT_FOUND/) })
    })
  })

  describe("in a project that has what the package asks for, and no more", () => {
    let project: string

    beforeAll(async () => {
      project = join(folder, "whole")
      const modules = join(project, "node_modules")
      await mkdir(join(modules, "mimosa-cache"), { recursive: true })
      await run("tar", ["-xzf", tarball, "-C", join(modules, "mimosa-cache"), "--strip-components=1"])
      const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"))
      const asked = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
      for (const name of [...asked, "@types/node"]) {
        await mkdir(join(modules, name, ".."), { recursive: true })
        await symlink(join(root, "node_modules", name), join(modules, name), "junction")
      }
      await writeFile(join(project, "package.json"), JSON.stringify({ name: "whole", type: "module" }))
      const options = { ...compilerOptions, noUncheckedIndexedAccess: true }
      await writeFile(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: options, include: ["*.ts"] }))
      await writeFile(join(project, "effects.ts"), effectsProgram)
      await writeFile(join(project, "promises.ts"), promisesProgram)
    })

    const node = async (file: string): Promise<string[]> => {
      const { stdout, stderr } = await run(process.execPath, [join(project, file)], { cwd: project })
      expect(stderr).toBe("")
      return stdout.trimEnd().split("\n")
    }

    it("type-checks strictly against mimosa-cache and mimosa-cache/promise, their declarations included", async () => {
      const tsc = [join(root, "node_modules/typescript/bin/tsc"), "-p", project]
      const problems = await run(process.execPath, tsc, { cwd: project }).then(
        () => "none",
        (error) => error.stdout
      )
      expect(problems).toBe("none")
    })

    it("runs scripts of tenants with plain node, as effects", async () => {
      expect(await node("out/effects.js")).toEqual([
        "acme:user_count = 2",
        '[1.0,{"$map":[[1,"é"]]}] in 16 bytes and back',
        "refused: ScriptTimeout at line 2",
        "kept: 7, and the trigger heard of it: kept"
      ])
    })

    it("runs scripts of tenants with plain node, as promises", async () => {
      expect(await node("out/promises.js")).toEqual([
        "acme has 2, globex has 1",
        "ended: its signal was aborted",
        "refused: TenantExists"
      ])
    })
  })
})

describe("the lockfile", () => {
  it("names no registry, so that any mirror serves", () => {
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toMatch(/"resolved":\s*"https?:/)
  })
})

const counterProgram = `
import { Effect, Logger, LogLevel, Request, Schema } from "effect"
import { ExitReason, GenServer, Process, Registry, Supervisor, Wire } from "mimosa-cache/actor"
import { Simulation } from "mimosa-cache/testing"

class Get extends Request.TaggedClass("Get")<number, never, object> {}
class Add extends Schema.TaggedRequest<Add>()("Add", {
  failure: Schema.Never,
  success: Schema.Number,
  payload: { amount: Schema.Number }
}) {}

interface CounterProtocol extends GenServer.Protocol {
  readonly call: Get | Add
  readonly cast: "overflow"
}
type CounterRef = GenServer.RefOf<CounterProtocol>

const Counter = GenServer.define<CounterProtocol>()({
  name: "counter",
  init: (first: number) => GenServer.Ok(first),
  handleCall: {
    Get: (_, count) => GenServer.Reply(count, count),
    Add: ({ amount }, count) => Effect.succeed(GenServer.Reply(count + amount, count + amount))
  },
  handleCast: () => Effect.die(new Error("overflow"))
})

const program = Effect.gen(function* () {
  const names = yield* Registry.make({ keys: "unique" })
  const clicks = Registry.via<CounterRef>(names, "clicks")
  const tree = yield* Supervisor.start({ children: [GenServer.childSpec(Counter, 0, { name: clicks })] })
  yield* Wire.callEncoded(clicks, Add, { _tag: "Add", amount: 2 })
  const count: number = yield* GenServer.call(clicks, new Get())
  console.log(\`\${count} clicks\`)

  const first = GenServer.whereis(clicks)
  yield* GenServer.cast(clicks, "overflow")
  if (first !== null) console.log(\`gone: \${ExitReason.format(yield* Process.awaitExit(first))}\`)
  yield* Effect.sleep(10)
  const restarts = Supervisor.unsafeTree(tree)?.children[0]?.restarts
  console.log(\`\${yield* GenServer.call(clicks, new Get())} clicks, \${restarts} restart\`)

  const refused = yield* Effect.flip(Wire.callEncoded(clicks, Add, { _tag: "Add", amount: "2" }))
  console.log(\`refused: \${refused._tag}\`)
})

await Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(program), LogLevel.None))

const simulation = Simulation.make({ seed: 42 })
simulation.run(Effect.sleep("1 hour"))
console.log(\`an hour at once: \${simulation.nowMs} ms\`)

// @ts-expect-error: the counter takes no such cast
export const wrong = (counter: CounterRef) => GenServer.cast(counter, "reset")
`

const effectsProgram = `
import { Effect, type Layer } from "effect"
import {
  Bus, Cache, type CacheService, decodeValue, encodeValue, fromJson, type InvalidTenant, Mimosa, type Output, type RunError,
  type Script, ScriptEngine, Scripts, type ScriptSyntaxError, type Tenant, Tenants, toExactJson, toFloat, toValue, Triggers,
  type TriggersOfKeyspace
} from "mimosa-cache"

const source = "function main() return cache.incr('user_count') end\\nfunction loop() while true do end end"

// The types are as narrow as they can be: whoever handles these errors has handled all of them.
const compiled: Effect.Effect<Script, ScriptSyntaxError, ScriptEngine> = Effect.flatMap(ScriptEngine, (engine) =>
  engine.compile(source, { name: "count.lua" })
)
const counted = (script: Script): Effect.Effect<Output, RunError> => script.runMain([], { cachePrefix: "acme" })
export const layer: Layer.Layer<Mimosa.Services, Mimosa.StartError> = Mimosa.layer({ tenants: { tenantsMax: 10 } })
// @ts-expect-error: there is no such setting
export const misspelt = Mimosa.layer({ tenant: {} })
// @ts-expect-error: a script is given plain data
export const noData = (script: Script) => script.runMain([new Date()])
// @ts-expect-error: and no limit that there is not
export const noLimit = (script: Script) => script.runMain([], { limits: { seconds: 1 } })
export const invalid = (error: RunError): error is InvalidTenant => error._tag === "InvalidTenant"

const program = Effect.gen(function* () {
  const tenants = yield* Tenants
  const script = yield* compiled
  yield* counted(script)
  const tenant: Tenant | undefined = tenants.list()[0]
  if (tenant === undefined) throw new Error("the run made none")
  const cache: CacheService = (yield* Cache).of(tenant)
  yield* counted(script)
  console.log(tenant.displayed("user_count"), "=", cache.unsafeGet("user_count"))

  const value = toValue([toFloat(1), new Map([[1, "é"]])])
  if (value instanceof Error) throw value
  const bytes = encodeValue(value)
  const again = decodeValue(bytes)
  if (again instanceof Error) throw again
  console.log(toExactJson(again), "in", bytes.length, "bytes and back")

  const error = yield* Effect.flip(script.run("loop", [], { cachePrefix: "acme", limits: { computeMs: 1 } }))
  console.log("refused:", error._tag, "at line", "line" in error ? error.line : "none")

  const triggers: TriggersOfKeyspace = (yield* Triggers).of(tenant)
  const heard: string[] = []
  ;(yield* Bus).subscribe("acme:x", { onMessage: (_channel, payload) => void heard.push(payload) })
  yield* triggers.set({ name: "t", pattern: "kept", events: ["ON_WRITE"], source: "cache.emit('x', event.key)" })
  const scripts = yield* Scripts
  const argument = fromJson("7")
  if (argument instanceof Error) throw argument
  yield* scripts.set("acme", "keep", "function main(x) cache.put('kept', x) return x end")
  console.log("kept:", (yield* scripts.run("acme", "keep", "main", [argument])) + ", and the trigger heard of it:", heard[0])
})

await program.pipe(Effect.provide(layer), Effect.runPromise)
`

const promisesProgram = `
import { Mimosa, type MimosaKeyspace, type MimosaScript, type Output, ScriptInterrupted, TenantExists } from "mimosa-cache/promise"

const mimosa = new Mimosa({ scripts: { machinesMax: 2, limits: { computeMs: 20 } } })
const script: MimosaScript = await mimosa.scripts.compile(
  "function main() return cache.incr('user_count') end\\nfunction wait() return later() end"
)
const [acme, globex] = [await mimosa.tenants.create({ id: "acme" }), await mimosa.tenants.open("globex")]
for (const { prefix } of [acme, globex, acme]) await script.runMain([], { cachePrefix: prefix })
const count = (cache: MimosaKeyspace): Promise<Output | undefined> => cache.get("user_count")
console.log("acme has", (await count(acme)) + ", globex has", await count(globex))

const controller = new AbortController()
const later = () => new Promise<number>(() => controller.abort())
const ended: unknown = await script.run("wait", [], { functions: { later }, signal: controller.signal }).catch((error) => error)
if (ended instanceof ScriptInterrupted) console.log("ended:", ended.reason)

const refused: unknown = await mimosa.tenants.create({ id: "acme" }).catch((error) => error)
if (refused instanceof TenantExists) console.log("refused:", refused._tag)
await mimosa.close()

// @ts-expect-error: what a script is given is plain data
export const noData = () => script.run("main", [() => 1])
// @ts-expect-error: a tenant is made with an id
export const nobody = () => mimosa.tenants.create({ prefix: "x" })
`
