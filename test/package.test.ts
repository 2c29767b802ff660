/** The package as npm would publish it: packed once from dist, and looked at from outside. */
import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { publint } from "publint"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("..", import.meta.url))
const run = promisify(execFile)

const isBuilt = existsSync(join(root, "dist/.inputs"))
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
})

describe("the lockfile", () => {
  it("names no registry, so that any mirror serves", () => {
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toMatch(/"resolved":\s*"https?:/)
  })
})
