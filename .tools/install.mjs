// Brings node_modules to what package-lock.json says, and does nothing when it is there already.
//
// npm leaves a copy of the lockfile of what it installed in node_modules/.package-lock.json. Comparing the two costs a few
// milliseconds and needs no stamp of ours, so an install by hand, a pull or another branch are all noticed.
//
// `npm install --no-save`, not `npm ci`: both follow the lockfile and leave it as it is, but npm 11 refuses `ci` where the
// lockfile lacks the builds of other platforms (optional packages), which depends on the registry it was written against.

import { existsSync } from "node:fs"
import { inRoot, readJson, run, runNode, say } from "./project.mjs"

/** Installs what is missing. Ends the process with a clear line when Node is too old or npm fails. */
export const install = async () => {
  const manifest = readJson("package.json")
  const lock = readJson("package-lock.json").packages
  checkNode(manifest.engines.node)
  checkLock(manifest, lock[""])
  const reason = whyInstall(lock, readJson("node_modules", ".package-lock.json")?.packages)
  if (reason === undefined) return
  say(`installing the packages of package-lock.json with npm: ${reason}`)
  // --include=dev: with NODE_ENV=production npm would leave out the compiler.
  const args = ["install", "--no-save", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"]
  const npm = process.env.npm_execpath
  const code = npm?.endsWith("npm-cli.js")
    ? await runNode([npm, ...args], { stdout: "stderr" })
    : await run("npm", args, { stdout: "stderr" })
  if (code !== 0) refuse(`npm ended with code ${code}; what it said stands above`)
}

const refuse = (line) => {
  say(line)
  process.exit(1)
}

const checkNode = (range) => {
  const wanted = range.match(/\d+(\.\d+)*/)[0]
  const [want, have] = [wanted, process.versions.node].map((version) => version.split(".").map(Number))
  const first = want.findIndex((part, index) => part !== have[index])
  if (first === -1 || have[first] > want[first]) return
  refuse(`this is Node ${process.versions.node}, Mimosa needs Node ${wanted} or newer: https://nodejs.org/en/download`)
}

const checkLock = (manifest, locked) => {
  for (const kind of ["dependencies", "devDependencies", "peerDependencies", "optionalDependencies"]) {
    const [wanted, have] = [manifest[kind] ?? {}, locked[kind] ?? {}]
    const differs = (name) => wanted[name] !== have[name]
    const name = Object.keys({ ...wanted, ...have }).find(differs)
    if (name !== undefined) refuse(`package.json and package-lock.json disagree on ${name}: run npm install`)
  }
}

/** Why an install is due, or `undefined` when it is not. Optional packages are those of one platform: they may differ. */
const whyInstall = (wanted, installed) => {
  if (installed === undefined) return "nothing is installed yet"
  for (const [path, { version, integrity, optional }] of Object.entries(wanted)) {
    const have = installed[path]
    if (path === "" || (have === undefined && optional)) continue
    if (have?.version !== version || have.integrity !== integrity) return `${path} should be ${version}`
    if (!existsSync(inRoot(path, "package.json"))) return `${path} is gone`
  }
  const extra = Object.keys(installed).find((path) => !(path in wanted) && !installed[path].optional)
  return extra === undefined ? undefined : `${extra} is not in the lockfile`
}
