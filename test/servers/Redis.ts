/** A real Redis to compare with, and Redis' own client and benchmark to talk to any server that speaks its protocol. */
import { spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Binary from "./Binary.ts"
import * as Port from "./Port.ts"

export interface RedisServer {
  readonly port: number
  readonly pid: number
  /** Everything the server has printed so far. */
  readonly log: () => string
  /** Ends the server, waits until it is gone and removes its folder. A second call does nothing more. */
  readonly stop: () => Promise<void>
}

/** Directives of redis.conf; one that takes several arguments is given an array. */
export type RedisConfig = Readonly<Record<string, string | number | ReadonlyArray<string | number>>>

/**
 * Starts a redis-server on a free port of 127.0.0.1 and answers when it accepts connections.
 * It persists nothing unless `config` says so, and works in a temporary folder of its own.
 * Fails with the server's own words when it ends before it is ready.
 */
export const startRedis = async (config: RedisConfig = {}): Promise<RedisServer> => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOn(await Port.free(), config)
    } catch (error) {
      // Somebody else took the free port between our look and Redis' bind.
      if (attempt === startAttemptsMax || !String(error).includes("Address already in use")) throw error
    }
  }
}

/** Runs redis-cli against 127.0.0.1:port, with `stdin` as its input (as `-x` or a list of commands), and answers its output. */
export const redisCli = (port: number, args: ReadonlyArray<string>, stdin?: string | Uint8Array): Promise<string> =>
  Binary.run("redis-cli", ["-h", "127.0.0.1", "-p", String(port), ...args], { stdin })

/** Runs redis-benchmark against 127.0.0.1:port and answers its output; `["-q", "-t", "set", "-P", "16", "--csv"]`. */
export const redisBenchmark = (port: number, args: ReadonlyArray<string>): Promise<string> =>
  Binary.run("redis-benchmark", ["-h", "127.0.0.1", "-p", String(port), ...args], { timeoutMs: 10 * 60_000 })

const startAttemptsMax = 5

const startOn = async (port: number, config: RedisConfig): Promise<RedisServer> => {
  const dir = await mkdtemp(join(tmpdir(), "mimosa-redis-"))
  const directives = { port, bind: "127.0.0.1", dir, save: "", appendonly: "no", ...config }
  const args = Object.entries(directives).flatMap(([name, value]) => [`--${name}`, ...[value].flat().map(String)])
  const child = spawn(Binary.path("redis-server"), args, { stdio: ["ignore", "pipe", "pipe"] })
  Binary.endWithUs(child)

  let printed = ""
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const stop = async () => {
    child.kill("SIGTERM")
    const hung = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs)
    await closed
    clearTimeout(hung)
    await rm(dir, { recursive: true, force: true })
  }
  try {
    await new Promise<void>((resolve, reject) => {
      const read = (chunk: Buffer) => {
        printed += chunk.toString()
        if (printed.includes("Ready to accept connections")) resolve()
      }
      child.stdout.on("data", read)
      child.stderr.on("data", read)
      child.once("error", reject)
      void closed.then(() => reject(new Error(`redis-server ended before it was ready:\n${printed}`)))
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { port, pid: child.pid as number, log: () => printed, stop }
}

const stopTimeoutMs = 10_000 // a Redis without persistence ends in milliseconds
