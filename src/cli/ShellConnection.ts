/**
 * The shell's connection: one command after the other, and what comes without being asked for (messages of channels).
 */
import { connect, type Socket } from "node:net"
import { type Address, unreachable } from "./Address.ts"
import { CliError } from "./CliError.ts"
import { type ReadReply, RespReader } from "./RespReader.ts"

export class ShellConnection {
  /** Channels and patterns that it is subscribed to. */
  subscriptions = 0
  isClosed = false
  private readonly reader = new RespReader()
  private waiting: { readonly resolve: (reply: ReadReply) => void; readonly reject: (why: Error) => void } | null = null
  private readonly whenClosed: Promise<void>

  private constructor(
    private readonly socket: Socket,
    private readonly address: Address,
    /** Takes what nobody waits for. */
    private readonly onStray: (reply: ReadReply) => void
  ) {
    this.whenClosed = new Promise((resolve) => {
      socket.once("close", () => {
        this.fail(`${address.host}:${address.port} closed the connection`)
        resolve()
      })
    })
    socket.on("error", (error) => this.fail(`${address.host}:${address.port} is gone: ${error.message}`))
    socket.on("data", (bytes) => this.onData(bytes))
  }

  /** Connects and agrees on RESP3, or on RESP2 with those who know no other. Rejects with how to start a server. */
  static async open(
    address: Address & { readonly password: string | undefined },
    onStray: (reply: ReadReply) => void
  ): Promise<ShellConnection> {
    const { host, port, password } = address
    const socket = connect({ host, port, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve)
      socket.once("error", (error) => reject(unreachable(address, error)))
    })
    socket.removeAllListeners("error")
    const connection = new ShellConnection(socket, address, onStray)
    const credentials = password === undefined ? [] : ["AUTH", "default", password]
    const hello = await connection.send(["HELLO", "3", ...credentials])
    if (hello.kind !== "error" || password === undefined) return connection
    connection.close()
    throw new CliError(hello.text)
  }

  /** Sends words as bytes (latin1) and waits for the answer; errors of the server are answers. One at a time. */
  send(words: readonly string[]): Promise<ReadReply> {
    return new Promise((resolve, reject) => {
      if (this.isClosed) return reject(new CliError("the connection is closed"))
      this.waiting = { resolve, reject }
      const bulks = words.map((word) => `$${word.length}\r\n${word}\r\n`)
      this.socket.write(`*${words.length}\r\n${bulks.join("")}`, "latin1")
    })
  }

  /** Resolves when the server, or `close`, has ended it. */
  closed(): Promise<void> {
    return this.whenClosed
  }

  close(): void {
    this.socket.destroy()
  }

  private onData(bytes: Buffer): void {
    let replies: ReadReply[]
    try {
      replies = this.reader.push(bytes)
    } catch {
      this.fail(`what answers on ${this.address.host}:${this.address.port} speaks no RESP`)
      return
    }
    for (const reply of replies) {
      const confirmed = confirmedSubscriptions(reply)
      if (confirmed !== undefined) this.subscriptions = confirmed
      const { waiting } = this
      // A message is no answer; that a channel is subscribed to is one, though RESP3 has it for a message, too.
      if (waiting === null || (reply.kind === "push" && confirmed === undefined)) this.onStray(reply)
      else {
        this.waiting = null
        waiting.resolve(reply)
      }
    }
  }

  private fail(reason: string): void {
    this.isClosed = true
    this.waiting?.reject(new CliError(reason))
    this.waiting = null
    this.socket.destroy()
  }
}

/** How many subscriptions there are, where that is what a reply tells. */
const confirmedSubscriptions = (reply: ReadReply): number | undefined => {
  if ((reply.kind !== "push" && reply.kind !== "array") || reply.items.length !== 3) return undefined
  const [what, , count] = reply.items
  if (what?.kind !== "bulk" || !/^p?(un)?subscribe$/.test(what.text) || count?.kind !== "integer") return undefined
  return Number(count.text)
}
