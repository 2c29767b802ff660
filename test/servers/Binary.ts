/**
 * The programs of real servers: where they are, how to run one, and what happens where they are not.
 *
 * A program is taken from PATH, else from .cache/servers/bin, where `npm test` puts what it fetches (.tools/servers.mjs).
 * A suite that needs a missing one is left out, loudly; in CI (`CI` set, or `MIMOSA_REQUIRE_SERVERS=1`) it fails instead.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { accessSync, constants } from "node:fs"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"

/** The program's path, or `undefined` when it is neither on PATH nor in the cache. */
export const find = (program: string): string | undefined =>
  [...(process.env.PATH ?? "").split(delimiter), cache]
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, program))
    .find(isExecutable)

/** The program's path. Throws with what to do when it is not there. */
export const path = (program: string): string => {
  const found = find(program)
  if (found === undefined) throw new Error(missing([program]))
  return found
}

/**
 * Runs a program to its end and answers what it printed. `stdin` is given to it whole.
 * Fails when it ends with another code than 0 (with what it said), or runs longer than `timeoutMs` (default 60 s).
 */
export const run = (
  program: string,
  args: ReadonlyArray<string>,
  options: { readonly stdin?: string | Uint8Array | undefined; readonly timeoutMs?: number | undefined } = {}
): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(path(program), args, { timeout: options.timeoutMs ?? 60_000, killSignal: "SIGKILL" })
    const stdout = collect(child.stdout)
    const stderr = collect(child.stderr)
    endWithUs(child)
    child.once("error", reject)
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(stdout())
      reject(new Error(`${program} ${args.join(" ")} ended with ${signal ?? `code ${code}`}: ${stderr()}${stdout()}`))
    })
    child.stdin.once("error", () => {}) // it may end without reading all of its input
    child.stdin.end(options.stdin)
  })

/** Ends the child with this process at the latest, whatever way a test took out. */
export const endWithUs = (child: ChildProcess): void => {
  if (ours.size === 0) process.once("exit", killAll)
  ours.add(child)
  child.once("exit", () => {
    ours.delete(child)
    if (ours.size === 0) process.off("exit", killAll)
  })
}
const ours = new Set<ChildProcess>()
const killAll = () => {
  for (const child of ours) child.kill("SIGKILL")
}

const cache = fileURLToPath(new URL("../../.cache/servers/bin", import.meta.url))

/** Where nothing may be left out. */
export const isRequired = Boolean(process.env.CI) || process.env.MIMOSA_REQUIRE_SERVERS === "1"

/** What is missing, and where it comes from. */
export const missing = (programs: ReadonlyArray<string>): string =>
  `${programs.join(", ")} not found on PATH nor in .cache/servers/bin; npm test fetches it where apt-get is there`

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const collect = (stream: NodeJS.ReadableStream): (() => string) => {
  const chunks: Array<Buffer> = []
  stream.on("data", (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString()
}
