/**
 * The only way to a member of the mesh: what its others dial instead of its port, so that a test can take a link away.
 *
 * What is blocked is swallowed like by a firewall that drops: connections stay, new ones are taken, and nothing flows until
 * the way is free again; then what has waited goes on. A closed gate refuses, as the port of a process that has ended.
 */
import { connect, createServer, type Server, type Socket } from "node:net"

interface Passage {
  readonly near: Socket
  /** Undefined until it is known who is at the near end, and may go on. */
  far: Socket | undefined
  /** The port of the dialer's own gate. */
  from: number
  readonly said: Buffer[]
}

export class Gate {
  private server: Server | null = null
  private readonly passages = new Set<Passage>()
  /** Ports of the gates of those who are not heard here, and of those who do not hear what is said here. */
  private readonly deafTo = new Set<number>()
  private readonly muteTo = new Set<number>()

  private constructor(
    readonly port: number,
    private readonly target: number
  ) {}

  /** A gate on a port of its own before that of a member, which is told to others as that member's. */
  static async before(target: number, port: number): Promise<Gate> {
    const gate = new Gate(port, target)
    await gate.open()
    return gate
  }

  async open(): Promise<void> {
    if (this.server !== null) return
    const server = createServer((near) => this.enter(near))
    this.server = server
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject)
      server.listen(this.port, "127.0.0.1", resolve)
    })
  }

  /** Whoever dials is refused; connections that are there end. */
  async close(): Promise<void> {
    const { server } = this
    this.server = null
    if (server === null) return
    for (const { near, far } of this.passages) {
      near.destroy()
      far?.destroy()
    }
    await new Promise((resolve) => server.close(resolve))
  }

  /** Nothing that `from` says to `to` arrives. */
  static block(from: Gate, to: Gate): void {
    from.muteTo.add(to.port)
    to.deafTo.add(from.port)
    for (const gate of [from, to]) gate.regulate()
  }

  /** Everything arrives again. */
  static freeAll(gates: readonly Gate[]): void {
    for (const gate of gates) {
      gate.deafTo.clear()
      gate.muteTo.clear()
      gate.regulate()
    }
  }

  private enter(near: Socket): void {
    const passage: Passage = { near, far: undefined, from: 0, said: [] }
    this.passages.add(passage)
    near.on("error", () => {})
    near.on("close", () => {
      this.passages.delete(passage)
      passage.far?.destroy()
    })
    near.on("data", (piece: Buffer) => {
      if (passage.far !== undefined) return void passage.far.write(piece)
      passage.said.push(piece)
      // A member says in its HELLO, which comes in one piece, where it is reached: at its gate.
      passage.from ||= Number(/127\.0\.0\.1:(\d+)/.exec(piece.toString("latin1"))?.[1] ?? 0)
      this.regulate()
    })
  }

  private regulate(): void {
    for (const passage of this.passages) {
      const { near, from } = passage
      if (from === 0) continue
      if (this.deafTo.has(from)) near.pause()
      else {
        passage.far ??= this.goOn(passage)
        near.resume()
      }
      if (this.muteTo.has(from)) passage.far?.pause()
      else passage.far?.resume()
    }
  }

  private goOn({ near, said }: Passage): Socket {
    const far = connect(this.target, "127.0.0.1")
    far.on("error", () => {})
    far.on("data", (piece) => near.write(piece))
    far.on("close", () => near.destroy())
    for (const piece of said.splice(0)) far.write(piece)
    return far
  }
}
