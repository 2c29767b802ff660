/** A TCP proxy that gives what it takes some time later, in each direction: a long wire. */
import { connect, createServer, type Server, type Socket } from "node:net"

export class SlowWire {
  private readonly sockets = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    /** Where to connect to on 127.0.0.1. */
    readonly port: number
  ) {}

  static async to(target: number, delayMs: number): Promise<SlowWire> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const wire = new SlowWire(server, (server.address() as { port: number }).port)
    server.on("connection", (near) => {
      const far = connect(target, "127.0.0.1")
      wire.carry(near, far, delayMs)
      wire.carry(far, near, delayMs)
    })
    return wire
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private carry(from: Socket, to: Socket, delayMs: number): void {
    this.sockets.add(from)
    from.setNoDelay(true)
    from.on("error", () => {})
    from.on("data", (piece: Buffer) => void setTimeout(() => to.write(piece), delayMs))
    from.on("close", () => {
      this.sockets.delete(from)
      setTimeout(() => to.destroy(), delayMs)
    })
  }
}
