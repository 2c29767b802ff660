// src → dist: the metered Lua, the JavaScript and its declarations. Does nothing when dist was made from these very files.
//
// Stale is a matter of content, not of time: git gives every file of a checkout a new mtime. Hashing the tree takes a few
// milliseconds; the hash stands in dist itself, so that dist and the claim about it come and go together.

import { createHash } from "node:crypto"
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join, relative, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { install } from "./install.mjs"
import { inRoot, root, runNode, say, tools } from "./project.mjs"

const stamp = inRoot("dist", ".inputs")
const command = inRoot("dist", "cli", "main.js")

/** Builds what is stale. True when dist is good, false when the build failed (the compiler has said why). */
export const build = async () => {
  const inputs = hashOf(["src", ".tools", "tsconfig.json", "package-lock.json"])
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) return true
  say("building dist")
  rmSync(stamp, { force: true })
  const { buildWasm } = await import("./wasm.mjs") // not above: it needs packages that may just have been installed
  await buildWasm()
  const code = await runNode([tools.tsc, "-p", inRoot(".tools/tsconfig.build.json")], { stdout: "stderr" })
  removeOrphans()
  if (existsSync(command)) chmodSync(command, 0o755)
  if (code !== 0) {
    say(`the build failed (tsc ended with code ${code}); what it said stands above`)
    return false
  }
  mkdirSync(inRoot("dist"), { recursive: true })
  writeFileSync(stamp, inputs)
  return true
}

/** Installs and builds, or ends the process: what every command but the tests begins with. */
export const installAndBuild = async () => {
  await install()
  if (!(await build())) process.exit(1)
}

const hashOf = (paths) => {
  const hash = createHash("sha256")
  for (const path of paths.flatMap((path) => filesUnder(inRoot(path)))) {
    hash.update(`\0${relative(root, path)}\0`).update(readFileSync(path))
  }
  return hash.digest("hex")
}

const filesUnder = (path) => {
  if (!existsSync(path)) return []
  if (statSync(path).isFile()) return [path]
  const below = readdirSync(path, { recursive: true }).map((name) => join(path, name))
  return below.filter((path) => statSync(path).isFile()).sort()
}

/** What was compiled from a source file that is gone would otherwise stay, and be packed. */
const removeOrphans = () => {
  for (const path of filesUnder(inRoot("dist"))) {
    const compiled = relative(inRoot("dist"), path).match(/^(.*?)(\.d\.ts|\.js|\.js\.map)$/)
    if (compiled !== null && !existsSync(inRoot("src", `${compiled[1].split(sep).join("/")}.ts`))) rmSync(path)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await installAndBuild()
