/** A real Redis to compare with, and Redis' own client and benchmark to talk to any server that speaks its protocol. */
import * as Binary from "./Binary.ts"
import { type Started, start } from "./Started.ts"

export type RedisServer = Started

/** Directives of redis.conf; one that takes several arguments is given an array. */
export type RedisConfig = Readonly<Record<string, string | number | ReadonlyArray<string | number>>>

/** Starts a redis-server, which persists nothing unless `config` says so. */
export const startRedis = (config: RedisConfig = {}): Promise<RedisServer> =>
  start({
    name: "redis-server",
    args: (dir, port) => {
      const directives = { port, bind: "127.0.0.1", dir, save: "", appendonly: "no", ...config }
      return Object.entries(directives).flatMap(([name, value]) => [`--${name}`, ...[value].flat().map(String)])
    },
    ready: "Ready to accept connections",
    taken: "Address already in use"
  })

/** Runs redis-cli against 127.0.0.1:port, with `stdin` as its input (as `-x` or a list of commands), and answers its output. */
export const redisCli = (port: number, args: ReadonlyArray<string>, stdin?: string | Uint8Array): Promise<string> =>
  Binary.run("redis-cli", ["-h", "127.0.0.1", "-p", String(port), ...args], { stdin })

/** Runs redis-benchmark against 127.0.0.1:port and answers its output; `["-q", "-t", "set", "-P", "16", "--csv"]`. */
export const redisBenchmark = (port: number, args: ReadonlyArray<string>): Promise<string> =>
  Binary.run("redis-benchmark", ["-h", "127.0.0.1", "-p", String(port), ...args], { timeoutMs: 10 * 60_000 })
