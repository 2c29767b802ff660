// What every command here starts from: where the project is, how to speak, how to run another program.
// Plain Node, no dependency: these files run before anything is installed.

import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** The project's folder, absolute. */
export const root = fileURLToPath(new URL("..", import.meta.url))

/** A path inside the project, absolute. */
export const inRoot = (...parts) => join(root, ...parts)

/** Says one line to the person who waits. On stderr, so that what a command prints (`bench --json`) stays clean. */
export const say = (line) => void process.stderr.write(`mimosa: ${line}\n`)

/**
 * Runs a program in the project's folder with this terminal, and answers its exit code (128 + signal when killed).
 * `stdout: "stderr"` moves what it prints out of our own output.
 */
export const run = (program, args, { env = {}, stdout = "inherit", cwd = root } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["inherit", stdout === "stderr" ? 2 : stdout, "inherit"],
      shell: process.platform === "win32" && program === "npm"
    })
    child.once("error", reject)
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signals[signal] ?? 0)))
  })

const signals = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }

/** Runs a script with this Node. */
export const runNode = (args, options) => run(process.execPath, args, options)

// The scripts behind `node_modules/.bin`, called directly: the same on every platform, and no shell between.
export const tools = {
  biome: inRoot("node_modules/@biomejs/biome/bin/biome"),
  tsc: inRoot("node_modules/typescript/bin/tsc"),
  vitest: inRoot("node_modules/vitest/vitest.mjs")
}

/** A JSON file of the project, or `undefined` when it is not there. */
export const readJson = (...parts) => {
  try {
    return JSON.parse(readFileSync(inRoot(...parts), "utf8"))
  } catch (error) {
    if (error.code === "ENOENT") return undefined
    throw error
  }
}
