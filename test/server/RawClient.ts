/** A client of any RESP server that shows replies as the bytes they came in, one string a reply. */
import { once } from "node:events"
import { connect, type Socket } from "node:net"

export class RawClient {
  private received = ""
  private waiting: Array<{ resolve: (reply: string) => void; reject: (reason: Error) => void }> = []
  private readonly replies: string[] = []
  private isClosed = false
  readonly closed: Promise<void>

  private constructor(readonly socket: Socket) {
    socket.on("data", (bytes: Buffer) => {
      this.received += bytes.toString("latin1")
      this.cut()
    })
    socket.on("error", () => {})
    this.closed = new Promise((resolve) =>
      socket.on("close", () => {
        this.isClosed = true
        for (const { reject } of this.waiting.splice(0)) reject(new Error("the server closed the connection"))
        resolve()
      })
    )
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect(port, "127.0.0.1")
    await once(socket, "connect")
    socket.setNoDelay(true)
    return new RawClient(socket)
  }

  write(bytes: string): void {
    this.socket.write(bytes, "latin1")
  }

  /** The next reply that nobody has taken yet. Rejects when the connection is closed before it comes. */
  reply(): Promise<string> {
    const ready = this.replies.shift()
    if (ready !== undefined) return Promise.resolve(ready)
    if (this.isClosed) return Promise.reject(new Error("the server closed the connection"))
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  /** Sends one command and returns its reply. */
  send(...args: string[]): Promise<string> {
    this.write(encode(args))
    return this.reply()
  }

  /** Sends all commands as one pipeline and returns as many replies. */
  pipeline(commands: ReadonlyArray<readonly string[]>): Promise<string[]> {
    this.write(commands.map(encode).join(""))
    return Promise.all(commands.map(() => this.reply()))
  }

  async close(): Promise<void> {
    this.socket.destroy()
    await this.closed
  }

  private cut(): void {
    let at = 0
    for (;;) {
      const end = replyEnd(this.received, at)
      if (end === -1) break
      const reply = this.received.slice(at, end)
      const waiter = this.waiting.shift()
      if (waiter === undefined) this.replies.push(reply)
      else waiter.resolve(reply)
      at = end
    }
    this.received = this.received.slice(at)
  }
}

/** A command as a RESP array of bulk strings; arguments are bytes as latin1 strings. */
export const encode = (args: readonly string[]): string =>
  `*${args.length}\r\n${args.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join("")}`

/** Where the reply that starts at `at` ends, or -1 while it is not whole. */
const replyEnd = (text: string, at: number): number => {
  const line = text.indexOf("\r\n", at)
  if (line === -1) return -1
  const count = Number(text.slice(at + 1, line))
  switch (text[at]) {
    case "$": {
      const end = count < 0 ? line + 2 : line + 2 + count + 2
      return end <= text.length ? end : -1
    }
    case "*":
    case "~":
    case ">":
    case "%": {
      let end = line + 2
      for (let i = 0; i < (text[at] === "%" ? count * 2 : count); i++) {
        end = replyEnd(text, end)
        if (end === -1) return -1
      }
      return end
    }
    default:
      return line + 2
  }
}
