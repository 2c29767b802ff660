/**
 * The built command `mimosa`, run as a person would: a process of its own. Tests that use it need dist, which
 * `npm test` builds.
 */
import { type SpawnOptionsWithoutStdio, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { fileURLToPath } from "node:url"
import { describe, it } from "vitest"
import { endWithUs } from "../servers/Binary.ts"

const command = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))
const isBuilt = existsSync(command)

/** A `describe` for suites that run the command. Without dist it is left out, and in CI it fails. */
export const describeBuilt = (name: string, body: () => void): void => {
  if (isBuilt) return void describe(name, body)
  if (!process.env.CI) return void describe.skip(`${name} (left out: dist is not built; npm run build)`, body)
  describe(name, () => {
    it("has a dist to run", () => {
      throw new Error("dist is not built: npm run build")
    })
  })
}

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly stdin?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Runs the command to its end; one that does not end is killed after a minute. */
export const mimosa = async (args: readonly string[], { stdin = "", env = {} }: RunOptions = {}): Promise<Outcome> => {
  const child = start(args, env, { timeout: 60_000, killSignal: "SIGKILL" })
  child.stdin.end(stdin)
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), child.ended])
  return { code, stdout, stderr }
}

export interface Served {
  readonly port: number
  readonly httpPort: number
  readonly pid: number
  readonly dataDir: string
  /** What it said when it was ready. */
  readonly welcome: string
  readonly stdout: () => string
  readonly stderr: () => string
  /** Sends the signal (default SIGTERM) and answers the exit code. A second call answers the same. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<number | null>
}

/** A folder that no other test uses, and what removes it. */
export const temporaryFolder = async () => {
  const path = await mkdtemp(join(tmpdir(), "mimosa-cli-"))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

/** `mimosa serve` on free ports, in the folder `cwd`; answers when it is ready. Fails with what it said when it ends before that. */
export const serve = async (
  dataDir: string,
  args: readonly string[] = [],
  env: RunOptions["env"] = {},
  cwd?: string
): Promise<Served> => {
  const child = start(["serve", "--port", "0", "--http-port", "0", "--data-dir", dataDir, ...args], env, { cwd })
  let [stdout, stderr] = ["", ""]
  child.stderr.on("data", (chunk) => {
    stderr += chunk
  })
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (chunk) => {
      stdout += chunk
      if (stdout.includes("Ctrl-C")) resolve()
    })
    void child.ended.then((code) => reject(new Error(`mimosa serve ended with ${code} before it was ready: ${stderr}`)))
  })
  const welcome = stdout
  const port = Number(/redis-cli -p (\d+)/.exec(welcome)?.[1])
  const httpPort = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(welcome)?.[1])
  const stop = (signal: NodeJS.Signals = "SIGTERM") => {
    if (child.exitCode === null) child.kill(signal)
    return child.ended
  }
  const pid = child.pid as number
  return { port, httpPort, pid, dataDir, welcome, stdout: () => stdout, stderr: () => stderr, stop }
}

export const start = (
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  options: SpawnOptionsWithoutStdio = {}
) => {
  const child = spawn(process.execPath, [command, ...args], { ...options, env: { ...cleanEnvironment(), ...env } })
  endWithUs(child)
  child.stdin.on("error", () => {}) // it may end without reading its input
  const ended = new Promise<number | null>((resolve) => void child.once("close", resolve))
  return Object.assign(child, { ended })
}

/** Nothing of the machine's own settings. */
const cleanEnvironment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MIMOSA_")))
