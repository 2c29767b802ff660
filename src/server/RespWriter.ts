/**
 * The replies of one connection, gathered while a turn runs and written at once when it ends.
 *
 * Replies are put together as one string: V8 joins by reference and flattens once, on the way into the socket, which
 * came out ahead of writing into a Buffer except where a reply is a constant (docs/decisions.md). A large value is
 * kept as a piece of its own, so that it is not copied into the joined text first.
 */
import type { Socket } from "node:net"

export class RespWriter {
  /** RESP3 has types of its own for no value, maps, sets and messages that nobody asked for. */
  protocol: 2 | 3 = 2
  private text = ""
  private pieces: string[] = []
  private piecesBytes = 0

  /** Past `bytesMax` everything gathered is dropped, and `onOverflow` is told. */
  constructor(
    private readonly bytesMax = Number.POSITIVE_INFINITY,
    private readonly onOverflow: () => void = () => {}
  ) {}

  /** Bytes that wait to be written. */
  get size(): number {
    return this.piecesBytes + this.text.length
  }

  ok(): void {
    this.text += "+OK\r\n"
  }

  simple(text: string): void {
    this.text += `+${text}\r\n`
  }

  /** `message` starts with its code ("ERR …"); line ends within it become blanks, as they would end the reply. */
  error(message: string): void {
    this.text += `-${message.replace(lineEnds, " ")}\r\n`
  }

  integer(value: number | bigint): void {
    this.text += `:${value}\r\n`
  }

  bulk(value: string): void {
    const length = value.length
    const header = length < headers.length ? (headers[length] as string) : `$${length}\r\n`
    if (length <= pieceBytesMin) {
      this.text += `${header + value}\r\n`
      return
    }
    this.pieces.push(this.text + header, value)
    this.piecesBytes += this.text.length + header.length + length
    this.text = "\r\n"
    this.guard()
  }

  /** No value. */
  nil(): void {
    this.text += this.protocol === 2 ? "$-1\r\n" : "_\r\n"
  }

  /** No array: what EXEC answers when nothing was run. */
  nilArray(): void {
    this.text += this.protocol === 2 ? "*-1\r\n" : "_\r\n"
  }

  /** `length` replies follow and are its elements. */
  array(length: number): void {
    this.guard()
    this.text += `*${length}\r\n`
  }

  /** `length` pairs of replies follow. RESP2 shows them as a flat array. */
  map(length: number): void {
    this.guard()
    this.text += this.protocol === 2 ? `*${length * 2}\r\n` : `%${length}\r\n`
  }

  /** `length` distinct replies follow, in no order. */
  set(length: number): void {
    this.text += `${this.protocol === 2 ? "*" : "~"}${length}\r\n`
  }

  /** `length` replies follow that answer no command. */
  push(length: number): void {
    this.guard()
    this.text += `${this.protocol === 2 ? "*" : ">"}${length}\r\n`
  }

  bulks(values: readonly string[]): void {
    this.array(values.length)
    for (const value of values) {
      this.bulk(value)
      this.guard()
    }
  }

  /** Drops everything when it is too much: asked wherever one command may answer without end. */
  guard(): void {
    if (this.size <= this.bytesMax) return
    this.clear()
    this.onOverflow()
  }

  /** Replies that were put together elsewhere. */
  raw(replies: string): void {
    this.text += replies
  }

  /** Takes out what has been gathered. */
  take(): string {
    const all = this.pieces.length === 0 ? this.text : this.pieces.join("") + this.text
    this.clear()
    return all
  }

  clear(): void {
    this.text = ""
    this.pieces = []
    this.piecesBytes = 0
  }

  /** Hands everything to the socket as one write. */
  flush(socket: Socket): void {
    if (this.pieces.length === 0) {
      const text = this.text
      this.text = ""
      socket.write(text, "latin1")
      return
    }
    socket.cork()
    for (const piece of this.pieces) socket.write(piece, "latin1")
    socket.write(this.text, "latin1")
    socket.uncork()
    this.clear()
  }
}

const pieceBytesMin = 16 * 1024 // bytes; below, a copy is cheaper than another element of a gathered write
const headers = Array.from({ length: 256 }, (_, length) => `$${length}\r\n`)
const lineEnds = /[\r\n]/g
