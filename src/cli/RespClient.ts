/**
 * A connection to a server, for commands that talk to it: RESP2, one command after the other.
 *
 * Of our own, because what a command needs of a client is small, and loading one from elsewhere takes longer than all the
 * rest of `mimosa ping`.
 */
import { connect as connectSocket, type Socket } from "node:net"
import { type Address, Unreachable, unreachable } from "./Address.ts"
import { CliError } from "./CliError.ts"
import { type ReadReply, RespReader } from "./RespReader.ts"

/** What a server answers: text, whole numbers, nil, and lists of these. */
export type Reply = string | number | null | readonly Reply[]

/** Where a server is, and as whom it is spoken to. */
export interface Dialled extends Address {
  readonly password?: string | undefined
  /** The tenant as whom an operator acts (TENANT USE). */
  readonly tenant?: string | undefined
  /** ms without a word from it after which it is given up; default 10,000. */
  readonly silenceMsMax?: number
}

export class RespClient {
  private readonly reader = new RespReader()
  private readonly waiting: Array<{ readonly resolve: (reply: Reply) => void; readonly reject: (why: Error) => void }> =
    []
  private failure: Error | null = null

  private constructor(
    private readonly socket: Socket,
    private readonly address: Address
  ) {
    socket.on("data", (bytes: Buffer) => this.onData(bytes))
    socket.on("error", (error) => this.fail(unreachable(address, error)))
    socket.on("close", () => this.fail(new Unreachable(`${shown(address)} closed the connection`)))
  }

  /**
   * Connects, says the password where there is one, and acts as the tenant where one is named. Fails with how to start a
   * server, or find it, when there is none.
   */
  static async connect(address: Dialled): Promise<RespClient> {
    const { host, port, password, tenant, silenceMsMax: ms = timeoutMs } = address
    const socket = connectSocket({ host, port, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.setTimeout(ms, () => socket.destroy(new Error(`no answer within ${ms / 1_000} seconds`)))
      socket.once("connect", resolve)
      socket.once("error", (error) => reject(unreachable(address, error)))
    })
    socket.removeAllListeners("error")
    const client = new RespClient(socket, address)
    try {
      if (password !== undefined) await client.send("AUTH", password)
      if (tenant !== undefined) await client.send("TENANT", "USE", tenant)
    } catch (error) {
      client.close()
      throw error
    }
    return client
  }

  /** Sends one command and waits for its answer. An error of the server fails with its words. */
  send(...words: readonly string[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.failure !== null) return reject(this.failure)
      this.waiting.push({ resolve, reject })
      const bulks = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
      this.socket.write(`*${words.length}\r\n${bulks.join("")}`)
    })
  }

  close(): void {
    this.socket.destroy()
  }

  private onData(bytes: Buffer): void {
    let replies: readonly ReadReply[]
    try {
      replies = this.reader.push(bytes)
    } catch {
      this.fail(
        new CliError(`what answers on ${shown(this.address)} speaks no RESP; is that its port for Redis clients?`)
      )
      return
    }
    for (const reply of replies) {
      const waiter = this.waiting.shift()
      if (reply.kind === "error") waiter?.reject(new CliError(this.whatIsWrong(reply.text)))
      else waiter?.resolve(asReply(reply))
    }
  }

  /** In the words of the server, except where a person has to say something first. */
  private whatIsWrong(error: string): string {
    return error.startsWith("NOAUTH ")
      ? `${shown(this.address)} asks for a password: --password or MIMOSA_PASSWORD`
      : wordsOf(error)
  }

  private fail(failure: Error): void {
    this.failure ??= failure
    for (const { reject } of this.waiting.splice(0)) reject(this.failure)
    this.socket.destroy()
  }
}

/** Connects, gives the client to `use`, and closes it in the end. */
export const withClient = async <A>(address: Dialled, use: (client: RespClient) => Promise<A>): Promise<A> => {
  const client = await RespClient.connect(address)
  try {
    return await use(client)
  } finally {
    client.close()
  }
}

const asReply = (reply: ReadReply): Reply => {
  switch (reply.kind) {
    case "nil":
      return null
    case "integer":
      return Number(reply.text)
    case "error":
      return wordsOf(reply.text)
    case "array":
    case "set":
    case "push":
      return reply.items.map(asReply)
    case "map":
      return reply.pairs.flat().map(asReply)
    case "boolean":
      return reply.value ? 1 : 0
    default:
      return Buffer.from(reply.text, "latin1").toString()
  }
}

/** An error's words without the code that says only that it is one. */
const wordsOf = (error: string): string => Buffer.from(error, "latin1").toString().replace(/^ERR /, "")

const shown = ({ host, port }: Address): string => `${host}:${port}`

const timeoutMs = 10_000 // for a person who waits; registering a trigger writes a file and takes milliseconds
