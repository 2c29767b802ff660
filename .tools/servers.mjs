// The real servers that some tests compare us with, in .cache/servers: fetched, unpacked, never installed.
//
// `apt-get download` and `dpkg -x` need no root, start no service and leave nothing on the machine. Each binary gets a small
// launcher in .cache/servers/bin that points the loader at the libraries unpacked beside it, so that a test (or a person)
// just runs it. A binary that is on PATH already is left alone: test/servers/Binary.ts looks there first.

import { execFile } from "node:child_process"
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { basename, delimiter, dirname, join, relative, resolve, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { install } from "./install.mjs"
import { inRoot, say } from "./project.mjs"

/**
 * One row a server: its Debian packages (what they depend on comes along when the machine lacks it), the programs that
 * tests run, and the guard by which test files say that they need it. A program may lie in any `bin` folder of its package.
 */
const servers = [
  {
    name: "redis",
    packages: ["redis-server", "redis-tools"],
    programs: ["redis-server", "redis-cli", "redis-benchmark"],
    guard: "describeWithRedis"
  },
  {
    name: "nats",
    packages: ["nats-server"],
    programs: ["nats-server"],
    guard: "describeWithNats"
  }
]

/** True where nothing may be left out: CI, or MIMOSA_REQUIRE_SERVERS=1. test/servers/Binary.ts has the same rule. */
const isRequired = Boolean(process.env.CI) || process.env.MIMOSA_REQUIRE_SERVERS === "1"

const cache = inRoot(".cache", "servers")
const launchers = join(cache, "bin")

/**
 * Fetches the servers that are not there and that the test files on these paths need (all of them without a path). What
 * cannot be fetched is said loudly, with the test files that it leaves out. Answers how many are missing where none may be.
 */
export const fetchServers = async (paths = []) => {
  let missing = 0
  for (const server of servers) {
    if (filesThatNeed(server, paths).length === 0) continue
    if (server.programs.every(isOnPath) || server.programs.every((program) => existsSync(join(launchers, program))))
      continue
    try {
      say(`fetching ${server.programs.join(", ")} into .cache/servers (nothing is installed)`)
      await fetchServer(server)
    } catch (error) {
      missing += isRequired ? 1 : 0
      say(`${isRequired ? "FAILED" : "LEFT OUT"}: ${server.name} is neither on PATH nor could it be fetched`)
      say(`  ${error.message.trim().split("\n").join("\n  ")}`)
      say(`  without it these do not run: ${filesThatNeed(server, paths).join(", ")}`)
    }
  }
  return missing
}

const isOnPath = (program) =>
  (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return folder !== ""
    } catch {
      return false
    }
  })

/** Test files that say so by the server's guard, or by `describeWith` and one of its programs. */
const filesThatNeed = ({ guard, programs }, paths) =>
  readdirSync(inRoot("test"), { recursive: true })
    .map((name) => `test/${name.split(sep).join("/")}`)
    .filter((name) => name.endsWith(".test.ts") && isMeant(name, paths))
    .filter((name) => {
      const text = readFileSync(inRoot(name), "utf8")
      const named = [...text.matchAll(/describeWith\(\[([^\]]*)\]/g)].map(([, names]) => names)
      return (
        text.includes(`${guard}(`) || named.some((names) => programs.some((program) => names.includes(`"${program}"`)))
      )
    })

/** Whether vitest runs the file when it is given these paths: each is a part of those that it means, or a whole one. */
const isMeant = (name, paths) =>
  paths.length === 0 ||
  paths.some((path) => inRoot(name).includes(relative(inRoot(), resolve(path.replace(/:\d+$/, "")))))

const fetchServer = async ({ name, packages, programs }) => {
  const work = join(cache, `.${name}-${process.pid}`)
  const unpacked = join(work, "root")
  try {
    mkdirSync(unpacked, { recursive: true })
    const packed = await download(packages, work)
    for (const file of readdirSync(packed)) await execute("dpkg", ["-x", join(packed, file), unpacked])
    const home = join(cache, name)
    rmSync(home, { recursive: true, force: true })
    renameSync(unpacked, home)
    for (const program of programs) await writeLauncher(home, program)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/**
 * First with the machine's package lists, which costs no network; where they are empty or stale, with fresh ones of our own.
 * Answers the folder of the packages.
 */
const download = async (packages, folder) => {
  try {
    return await downloadWith(aptConfig(folder), packages, join(folder, "packages"))
  } catch (error) {
    if (error.code === "ENOENT") throw new Error("apt-get is not on this machine: put the programs on PATH to run them")
    const lists = join(folder, "lists")
    mkdirSync(join(lists, "partial"), { recursive: true })
    const config = aptConfig(folder, `Dir::State::lists "${lists}";`)
    await execute("apt-get", ["-c", config, "update"])
    return await downloadWith(config, packages, join(folder, "fresh-packages"))
  }
}

/** Downloads the packages, and those they depend on that this machine lacks, which is what a simulated install lists. */
const downloadWith = async (config, packages, folder) => {
  const simulated = await execute("apt-get", ["-c", config, "-s", "--no-install-recommends", "install", ...packages])
  const lacking = [...simulated.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name)
  mkdirSync(folder)
  await execute("apt-get", ["-c", config, "download", ...new Set([...packages, ...lacking])], folder)
  return folder
}

/** apt's settings for one fetch: its caches in our folder, and none of the machine's hooks after an update. */
const aptConfig = (folder, ...more) => {
  const path = join(folder, "apt.conf")
  const lines = [
    "#clear APT::Update::Post-Invoke;",
    "#clear APT::Update::Post-Invoke-Success;",
    `Dir::Cache "${folder}";`,
    'Dir::Cache::archives "archives";',
    'Dir::Cache::pkgcache "";',
    'Dir::Cache::srcpkgcache "";',
    'APT::Sandbox::User "root";', // else apt complains that its own user cannot read our folder
    ...more
  ]
  mkdirSync(join(folder, "archives", "partial"), { recursive: true })
  writeFileSync(path, `${lines.join("\n")}\n`)
  return path
}

const writeLauncher = async (home, program) => {
  const files = readdirSync(home, { recursive: true }).map((name) => join(home, name))
  const binary = files.find((file) => basename(file) === program && /^s?bin$/.test(basename(dirname(file))))
  if (binary === undefined) throw new Error(`${program} is not in the packages that were fetched`)
  const libraries = new Set(files.filter((file) => /\.so(\.|$)/.test(basename(file))).map(dirname))
  const launcher = join(launchers, program)
  const here = (path) => `$home/${relative(cache, path)}`
  mkdirSync(launchers, { recursive: true })
  writeFileSync(
    `${launcher}.new`,
    `#!/bin/sh
home=$(cd "$(dirname "$0")/.." && pwd)
LD_LIBRARY_PATH="${[...libraries].map(here).join(":")}" exec "${here(binary)}" "$@"
`,
    { mode: 0o755 }
  )
  await execute(`${launcher}.new`, ["--version"]) // the proof that no library is missing
  renameSync(`${launcher}.new`, launcher)
}

const execute = async (program, args, cwd = cache) => {
  const { stdout } = await promisify(execFile)(program, args, {
    cwd,
    env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
    maxBuffer: 64 * 1024 * 1024,
    timeout: 5 * 60_000
  })
  return stdout
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await install()
  process.exitCode = await fetchServers()
}
