/** A real server as a child of ours, in a temporary folder of its own: started on a free port, ended with us. */
import { spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Binary from "./Binary.ts"
import * as Port from "./Port.ts"

export interface Started {
  readonly port: number
  readonly pid: number
  /** Everything the server has printed so far. */
  readonly log: () => string
  /** Ends the server, waits until it is gone and removes its folder. A second call does nothing more. */
  readonly stop: () => Promise<void>
}

export interface Program {
  readonly name: string
  /** Its arguments; what it needs in its folder may be written there. */
  readonly args: (folder: string, port: number) => readonly string[] | Promise<readonly string[]>
  /** What it prints once it accepts connections, and where its port is taken. */
  readonly ready: string
  readonly taken: string
}

/**
 * Starts it on this port of 127.0.0.1, or a free one, and answers when it accepts connections. Fails with the server's
 * own words when it ends before it is ready.
 */
export const start = async (program: Program, port?: number): Promise<Started> => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOn(program, port ?? (await Port.free()))
    } catch (error) {
      // Somebody else took the free port between our look and the server's bind.
      if (attempt === startAttemptsMax || !String(error).includes(program.taken)) throw error
    }
  }
}

const startAttemptsMax = 5

const startOn = async ({ name, args, ready }: Program, port: number): Promise<Started> => {
  const folder = await mkdtemp(join(tmpdir(), `mimosa-${name}-`))
  const child = spawn(Binary.path(name), await args(folder, port), { stdio: ["ignore", "pipe", "pipe"] })
  Binary.endWithUs(child)

  let printed = ""
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const stop = async () => {
    child.kill("SIGTERM")
    const hung = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs)
    await closed
    clearTimeout(hung)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await new Promise<void>((resolve, reject) => {
      const read = (chunk: Buffer) => {
        printed += chunk.toString()
        if (printed.includes(ready)) resolve()
      }
      child.stdout.on("data", read)
      child.stderr.on("data", read)
      child.once("error", reject)
      void closed.then(() => reject(new Error(`${name} ended before it was ready:\n${printed}`)))
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { port, pid: child.pid as number, log: () => printed, stop }
}

const stopTimeoutMs = 10_000 // one without clients ends in milliseconds
