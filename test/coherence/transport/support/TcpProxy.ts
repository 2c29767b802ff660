/** What stands between two members and may change what they say: a proxy of the test. */
import { connect, createServer, type Server, type Socket } from "node:net"

export class TcpProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  port = 0
  /** What becomes of a piece on its way from who has connected. */
  forward: (piece: Buffer) => ReadonlyArray<Buffer> = (piece) => [piece]
  /** Nothing is taken or given any more, and nobody is told. */
  isDead = false

  private constructor(private readonly target: number) {
    this.#server = createServer((socket) => this.#join(socket))
  }

  static async to(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve))
    proxy.port = (proxy.#server.address() as { port: number }).port
    return proxy
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** Takes nothing more out of the connections that are there. */
  stall(): void {
    this.isDead = true
    for (const socket of this.#sockets) socket.pause()
  }

  #join(near: Socket): void {
    const far = connect(this.target, "127.0.0.1")
    for (const [from, to] of [
      [near, far],
      [far, near]
    ] as const) {
      this.#sockets.add(from)
      from.on("error", () => {})
      from.on("data", (piece: Buffer) => {
        for (const each of from === near ? this.forward(piece) : [piece]) to.write(each)
      })
      from.on("close", () => {
        this.#sockets.delete(from)
        if (!this.isDead) to.destroy()
      })
    }
  }
}
