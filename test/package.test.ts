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
