/** A served Mimosa in a process of its own, and a plain connection to any server that speaks RESP. */
import { spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { connect, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Binary from "../servers/Binary.ts"
import * as Port from "../servers/Port.ts"

export interface Served {
  readonly port: number
  readonly stop: () => Promise<void>
}

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))

/** Starts `mimosa serve` on free ports with a data directory of its own, and answers when it accepts connections. */
export const startMimosa = async (flags: readonly string[] = []): Promise<Served> => {
  const [port, httpPort] = [await Port.free(), await Port.free()]
  const dataDir = await mkdtemp(join(tmpdir(), "mimosa-bench-"))
  const args = ["serve", "--port", String(port), "--http-port", String(httpPort), "--data-dir", dataDir, ...flags]
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "ignore", "inherit"] })
  Binary.endWithUs(child)
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  await accepting(port, ended)
  return {
    port,
    stop: async () => {
      child.kill("SIGTERM")
      await ended
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}

const accepting = async (port: number, ended: Promise<void>): Promise<void> => {
  let isOver = false
  void ended.then(() => {
    isOver = true
  })
  while (!isOver) {
    try {
      const connection = await Connection.open(port)
      connection.close()
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  throw new Error("mimosa serve ended before it accepted connections; what it said stands above")
}

/** Listens on one channel, and hears each line that begins with a prefix: just enough RESP to cost next to nothing. */
export const listen = async (port: number, channel: string) => {
  let hear: { readonly prefix: string; readonly onLine: () => void } | null = null
  let rest = ""
  const socket = await new Promise<Socket>((resolve, reject) => {
    const made = connect(port, "127.0.0.1", () => resolve(made))
    made.once("error", reject)
  })
  await new Promise<void>((resolve) => {
    socket.once("data", () => resolve())
    socket.write(encode(["SUBSCRIBE", channel]))
  })
  socket.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString("latin1")).split("\r\n")
    rest = lines.pop() as string
    for (const line of lines) if (hear !== null && line.startsWith(hear.prefix)) hear.onLine()
  })
  return {
    for: (prefix: string, onLine: () => void): void => {
      hear = { prefix, onLine }
    },
    close: () => void socket.end()
  }
}

/** Sends commands by the thousand and waits for as many replies; just enough RESP for simple replies. */
export class Connection {
  private replies = 0
  private awaited = 0
  private resolve: (() => void) | null = null

  private constructor(private readonly socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      for (let at = chunk.indexOf(13); at !== -1; at = chunk.indexOf(13, at + 1)) this.replies++
      if (this.replies >= this.awaited) this.resolve?.()
    })
  }

  static open(port: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => resolve(new Connection(socket)))
      socket.once("error", reject)
    })
  }

  /** Sends commands whose replies are one line each, and waits for the replies. */
  async pipeline(commands: ReadonlyArray<readonly string[]>): Promise<void> {
    this.replies = 0
    this.awaited = commands.length
    const done = new Promise<void>((resolve) => {
      this.resolve = resolve
    })
    this.socket.write(commands.map(encode).join(""))
    await done
  }

  close(): void {
    this.socket.end()
  }
}

const encode = (args: readonly string[]): string =>
  `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join("")}`
