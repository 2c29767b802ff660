/**
 * The connections of the HTTP server, bounded so that nobody is shut out: when there are as many as there may be, a new one
 * takes the place of the one that has been silent longest, and of the one that has been served longest where all are
 * being served. So connections that are kept alive, slow or abandoned never keep a health probe from its answer.
 *
 * Each is in exactly one of `idle` and `busy`; both are in the order in which their members came there. O(1) a request.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"

export class HttpConnections {
  /** Connections that had to make room for others. */
  evicted = 0
  private readonly idle = new Set<Socket>()
  /** With the number of requests that wait for the end of their answers. */
  private readonly busy = new Map<Socket, number>()

  constructor(
    server: Server,
    private readonly max: number
  ) {
    server.on("connection", (socket: Socket) => this.onConnection(socket))
    server.on("request", (request, response) => this.onRequest(request, response))
  }

  get open(): number {
    return this.idle.size + this.busy.size
  }

  /** Bytes of answers that clients have not taken yet. O(connections that are served). */
  waitingBytes(): number {
    let bytes = 0
    for (const socket of this.busy.keys()) bytes += socket.writableLength
    return bytes
  }

  /** Closes those that wait for no answer. */
  closeIdle(): void {
    for (const socket of this.idle) socket.destroy()
  }

  private onConnection(socket: Socket): void {
    if (this.open >= this.max) this.evict()
    this.idle.add(socket)
    socket.once("close", () => {
      this.idle.delete(socket)
      this.busy.delete(socket)
    })
  }

  private onRequest({ socket }: IncomingMessage, response: ServerResponse): void {
    this.idle.delete(socket)
    this.busy.set(socket, (this.busy.get(socket) ?? 0) + 1)
    response.once("close", () => {
      const left = (this.busy.get(socket) ?? 0) - 1
      if (left > 0) return void this.busy.set(socket, left)
      if (this.busy.delete(socket) && !socket.destroyed) this.idle.add(socket)
    })
  }

  private evict(): void {
    const [silent] = this.idle
    const [served] = this.busy.keys()
    const socket = silent ?? served
    if (socket === undefined) return
    this.evicted++
    this.idle.delete(socket)
    this.busy.delete(socket)
    socket.destroy()
  }
}
