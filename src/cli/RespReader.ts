/**
 * Replies of RESP2 and RESP3 out of a stream of bytes, with all that a person wants to see of them: whether something was
 * a map or a list, text or an error, bytes as they came.
 *
 * What has been read is not looked at again when more comes: lists that are open wait on a stack, and a long text is not
 * tried before it is whole.
 */

/** A reply as it came. Bytes are latin1 strings, one character a byte. */
export type ReadReply =
  | { readonly kind: "simple" | "error" | "bulk" | "verbatim" | "integer" | "double" | "big"; readonly text: string }
  | { readonly kind: "boolean"; readonly value: boolean }
  | { readonly kind: "nil" }
  | { readonly kind: "array" | "set" | "push"; readonly items: readonly ReadReply[] }
  | { readonly kind: "map"; readonly pairs: ReadonlyArray<readonly [key: ReadReply, value: ReadReply]> }

/** What was read is no RESP. */
export class NoResp extends Error {}

export class RespReader {
  private chunks: Buffer[] = []
  private bytes = 0
  /** Less than this is not worth looking at. */
  private needed = 1
  private readonly open: Aggregate[] = []

  /** Takes bytes in and answers the replies that are whole with them. Throws `NoResp`. */
  push(chunk: Buffer): ReadReply[] {
    this.chunks.push(chunk)
    this.bytes += chunk.length
    if (this.bytes < this.needed) return []
    const bytes = this.chunks.length === 1 ? (this.chunks[0] as Buffer) : Buffer.concat(this.chunks)
    const replies: ReadReply[] = []
    let at = 0
    this.needed = 1
    while (at < bytes.length) {
      const end = this.readOne(bytes, at, replies)
      if (end === 0) break
      at = end
    }
    const rest = bytes.subarray(at)
    this.chunks = [rest]
    this.bytes = rest.length
    return replies
  }

  /** Reads what begins at `at`, and answers where it ends; 0 while that is not there yet. */
  private readOne(bytes: Buffer, at: number, replies: ReadReply[]): number {
    const lineEnd = bytes.indexOf("\r\n", at)
    if (lineEnd === -1) {
      if (bytes.length - at > lineBytesMax) throw new NoResp("a line does not end")
      this.needed = bytes.length - at + 1
      return 0
    }
    const type = String.fromCharCode(bytes[at] as number)
    const line = bytes.toString("latin1", at + 1, lineEnd)
    const next = lineEnd + 2
    const aggregate = aggregates[type]
    if (aggregate !== undefined) {
      const length = Number(line)
      if (length < 0) this.deliver({ kind: "nil" }, replies)
      else if (length === 0) this.deliver(aggregate === "attribute" ? null : close(aggregate, []), replies)
      else this.open.push({ kind: aggregate, length: aggregate in pairsOf ? length * 2 : length, items: [] })
      return next
    }
    if (type !== "$" && type !== "=" && type !== "!") {
      this.deliver(scalar(type, line), replies)
      return next
    }
    const length = Number(line)
    if (length < 0) {
      this.deliver({ kind: "nil" }, replies)
      return next
    }
    if (bytes.length < next + length + 2) {
      this.needed = next + length + 2 - at
      return 0
    }
    const text = bytes.toString("latin1", next, next + length)
    if (type === "=")
      this.deliver({ kind: "verbatim", text: text.slice(4) }, replies) // "txt:" and the like
    else this.deliver({ kind: type === "$" ? "bulk" : "error", text }, replies)
    return next + length + 2
  }

  /** Puts a value where it belongs: into the innermost open list, or out. Null is nothing to be seen. */
  private deliver(value: ReadReply | null, replies: ReadReply[]): void {
    let delivered = value
    for (;;) {
      if (delivered === null) return
      const inner = this.open.at(-1)
      if (inner === undefined) {
        replies.push(delivered)
        return
      }
      inner.items.push(delivered)
      if (inner.items.length < inner.length) return
      this.open.pop()
      delivered = inner.kind === "attribute" ? null : close(inner.kind, inner.items)
    }
  }
}

interface Aggregate {
  readonly kind: "array" | "set" | "push" | "map" | "attribute"
  readonly length: number
  readonly items: ReadReply[]
}

const aggregates: Readonly<Record<string, Aggregate["kind"]>> = {
  "*": "array",
  "~": "set",
  ">": "push",
  "%": "map",
  "|": "attribute"
}

const pairsOf = { map: true, attribute: true }

const close = (kind: Exclude<Aggregate["kind"], "attribute">, items: readonly ReadReply[]): ReadReply => {
  if (kind !== "map") return { kind, items }
  const pairs = Array.from(
    { length: items.length / 2 },
    (_, at) => [items[2 * at] as ReadReply, items[2 * at + 1] as ReadReply] as const
  )
  return { kind, pairs }
}

const scalar = (type: string, text: string): ReadReply => {
  switch (type) {
    case "+":
      return { kind: "simple", text }
    case "-":
      return { kind: "error", text }
    case ":":
      return { kind: "integer", text }
    case ",":
      return { kind: "double", text }
    case "(":
      return { kind: "big", text }
    case "#":
      return { kind: "boolean", value: text === "t" }
    case "_":
      return { kind: "nil" }
  }
  throw new NoResp(`a reply begins with '${type}'`)
}

const lineBytesMax = 64 * 1024 // bytes; far above any line of RESP
